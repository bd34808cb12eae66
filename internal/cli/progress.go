package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/segue-go/segue/client"
)

// printer shows events. It is used from one goroutine.
type printer interface {
	event(client.Event)
	close()
}

// jsonPrinter writes each event as a line.
type jsonPrinter struct{ enc *json.Encoder }

func newJSONPrinter(w io.Writer) jsonPrinter { return jsonPrinter{json.NewEncoder(w)} }

func (p jsonPrinter) event(e client.Event) { p.enc.Encode(e) }
func (p jsonPrinter) close()               {}

// textPrinter writes for people: what goes on is the live line, what is over
// stays.
type textPrinter struct {
	screen *screen
	all    bool // every event; otherwise only what leads to the report
	shown  int  // rows of the attempt under way

	drainBegan time.Time
}

func (p *textPrinter) close() { p.screen.close() }

func (p *textPrinter) event(e client.Event) {
	st := p.screen.style
	switch e.Kind {
	case client.EventStep:
		p.step(e)
	case client.EventReport:
		p.report(e.Report)
	case client.EventGeneration:
		if e.Role == client.RoleDraining {
			p.drain(e)
		}
	case client.EventState:
		attempt := e.State == client.Starting || e.State == client.Restarting
		if attempt {
			p.shown = 0
		}
		if line := stateLine(e); line != "" && (p.all || attempt || e.State == client.Stopping) {
			p.screen.print(st.bold(line))
		}
	case client.EventExit:
		if p.all {
			p.screen.print(fmt.Sprintf("generation %d (pid %d) %s", e.Generation, e.PID, e.Text))
		}
	case client.EventProblem, client.EventDropped:
		p.screen.print(st.red("problem: ") + clean(e.Text))
	}
}

func (p *textPrinter) step(e client.Event) {
	if !e.Ended {
		p.going(e.Step.Name, e.Step.Began, "")
		return
	}
	p.screen.show(nil)
	p.shown++
	note := ""
	if e.Step.Name == "spawn" && e.Generation > 0 {
		note = fmt.Sprintf("generation %d, pid %d", e.Generation, e.PID)
	}
	p.screen.print(stepRow(p.screen.style, *e.Step, note))
}

// drain shows that a generation finishes what it has, and what it says of it.
func (p *textPrinter) drain(e client.Event) {
	note := fmt.Sprintf("generation %d finishes what it has", e.Generation)
	if e.Text != "" {
		note = fmt.Sprintf("generation %d is %s", e.Generation, clean(e.Text))
	} else {
		p.drainBegan = e.Time
	}
	p.going("drain", p.drainBegan, note)
}

// going makes a step that lasts the live line.
func (p *textPrinter) going(name string, since time.Time, note string) {
	st := p.screen.style
	p.screen.show(func() string { return st.row(st.going, name, max(0, time.Since(since)), note) })
}

// report shows the steps that were not seen as they happened, and the summary.
func (p *textPrinter) report(r *client.Report) {
	p.screen.show(nil)
	st := p.screen.style
	for _, s := range r.Steps[min(p.shown, len(r.Steps)):] {
		p.screen.print(stepRow(st, s, ""))
	}
	p.shown = 0
	p.screen.print(reportLines(st, *r)...)
}

func stepRow(st style, s client.Step, note string) string {
	mark := st.ok
	switch {
	case s.Error != "":
		mark, note = st.bad, s.Error
	case s.Note != "":
		note = s.Note
	}
	return st.row(mark, s.Name, s.Took, strings.ReplaceAll(clean(note), "\n", " "))
}

// stateLine is how a state is announced; "" when its report says it all.
func stateLine(e client.Event) string {
	because := ""
	if e.Text != "" {
		because = ": " + clean(e.Text)
	}
	switch e.State {
	case client.Starting:
		return "starting " + e.Service + because
	case client.Serving:
		return e.Service + " serves"
	case client.Restarting:
		return "restarting " + e.Service + because
	case client.BackingOff:
		return e.Service + " is down" + because
	case client.Stopping:
		return "stopping " + e.Service + because
	case client.Failed:
		return e.Service + " has failed" + because
	}
	return ""
}
