package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
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
	screen  *screen
	all     bool // every event; otherwise only what leads to the report
	several bool // what happens to one service is told with its name

	shown map[string]int // rows of the attempt under way, by service
	lives []live         // what goes on
}

// live is a step that lasts.
type live struct {
	service, step, note string
	since               time.Time
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
			delete(p.shown, e.Service)
		}
		if line := stateLine(e); line != "" && (p.all || attempt || e.State == client.Stopping) {
			p.screen.print(st.bold(line))
		}
	case client.EventExit:
		if p.all {
			p.screen.print(fmt.Sprintf("%sgeneration %d (pid %d) %s", p.named(e.Service), e.Generation, e.PID, e.Text))
		}
	case client.EventProblem, client.EventDropped:
		p.screen.print(st.red("problem: ") + p.named(e.Service) + clean(e.Text))
	}
}

// named is how a line about a service begins.
func (p *textPrinter) named(service string) string {
	if !p.several || service == "" {
		return ""
	}
	return service + ": "
}

func (p *textPrinter) step(e client.Event) {
	if !e.Ended {
		p.going(live{service: e.Service, step: e.Step.Name, since: e.Step.Began})
		return
	}
	p.over(e.Service)
	if p.shown == nil {
		p.shown = map[string]int{}
	}
	p.shown[e.Service]++
	note := ""
	if e.Step.Name == "spawn" && e.Generation > 0 {
		note = fmt.Sprintf("generation %d, pid %d", e.Generation, e.PID)
	}
	p.screen.print(stepRow(p.screen.style, *e.Step, p.named(e.Service), note))
}

// drain shows that a generation finishes what it has, and what it says of it.
func (p *textPrinter) drain(e client.Event) {
	l := live{service: e.Service, step: "drain", since: e.Time, note: fmt.Sprintf("generation %d finishes what it has", e.Generation)}
	if e.Text != "" {
		l.note = fmt.Sprintf("generation %d is %s", e.Generation, clean(e.Text))
		if i := p.live(e.Service); i >= 0 && p.lives[i].step == "drain" {
			l.since = p.lives[i].since
		}
	}
	p.going(l)
}

func (p *textPrinter) live(service string) int {
	return slices.IndexFunc(p.lives, func(l live) bool { return l.service == service })
}

// going makes l what goes on in its service. The live line is the one that has
// changed last.
func (p *textPrinter) going(l live) {
	p.lives = append(slices.DeleteFunc(p.lives, func(o live) bool { return o.service == l.service }), l)
	p.show()
}

// over is the end of what went on in a service.
func (p *textPrinter) over(service string) {
	p.lives = slices.DeleteFunc(p.lives, func(o live) bool { return o.service == service })
	p.show()
}

func (p *textPrinter) show() {
	if len(p.lives) == 0 {
		p.screen.show(nil)
		return
	}
	l, st := p.lives[len(p.lives)-1], p.screen.style
	p.screen.show(func() string {
		return st.row(st.going, p.named(l.service), l.step, max(0, time.Since(l.since)), l.note)
	})
}

// report shows the steps that were not seen as they happened, and the summary.
func (p *textPrinter) report(r *client.Report) {
	p.over(r.Service)
	st := p.screen.style
	for _, s := range r.Steps[min(p.shown[r.Service], len(r.Steps)):] {
		p.screen.print(stepRow(st, s, p.named(r.Service), ""))
	}
	delete(p.shown, r.Service)
	p.screen.print(reportLines(st, *r)...)
}

// stepRow is a step that is over; name, which may be "", says of which service.
func stepRow(st style, s client.Step, name, note string) string {
	mark := st.ok
	switch {
	case s.Error != "":
		mark, note = st.bad, s.Error
	case s.Note != "":
		note = s.Note
	}
	return st.row(mark, name, s.Name, s.Took, strings.ReplaceAll(clean(note), "\n", " "))
}

// stateLine is how a state is announced; "" when its report says it all.
func stateLine(e client.Event) string {
	because := ""
	if e.Text != "" {
		because = ": " + clean(e.Text)
	}
	switch e.State {
	case client.Waiting:
		return e.Service + " waits" + because
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
