package cli

import (
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/segue-go/segue/client"
)

// reportLines is the summary of a restart or a stop, without its steps.
func reportLines(st style, r client.Report) []string {
	lines := []string{headline(st, r)}
	add := func(format string, args ...any) { lines = append(lines, "  "+fmt.Sprintf(format, args...)) }
	if r.Outcome != client.Done && r.Reason != "" {
		where := ""
		if r.FailedStep != "" {
			where = r.FailedStep + ": "
		}
		add("%s%s", where, strings.ReplaceAll(clean(r.Reason), "\n", "\n  "))
	}
	if r.From != nil && r.To != nil && r.Outcome == client.Done && r.From.Binary != r.To.Binary {
		add("binary %s %s %s", r.From.Binary, st.arrow, r.To.Binary)
	}
	lines = append(lines, lostLines(r)...)
	if r.Drain != nil {
		lines = append(lines, drainLines(r.From, *r.Drain)...)
		lines = append(lines, moveLines(*r.Drain)...)
	}
	if len(r.Output) > 0 && r.To != nil {
		add("last output of generation %d:", r.To.Number)
		for _, l := range r.Output {
			add("  | %s", clean(l))
		}
		add("hint: `segue logs --name %s --generation %d` shows all of it", r.Service, r.To.Number)
	}
	return lines
}

// headline is what a report comes to, in one line.
func headline(st style, r client.Report) string {
	took := short(r.Took)
	switch {
	case r.Action == "stop" && r.Outcome == client.Done:
		return st.green(fmt.Sprintf("stopped %s in %s", r.Service, took))
	case r.Action == "stop":
		return st.red(fmt.Sprintf("stopped %s by force after %s", r.Service, took))
	case r.Outcome == client.Done && r.From != nil:
		return st.green("restarted "+r.Service+" in "+took) + ": " + generation(r.From) + " " + st.arrow + " " + generation(r.To)
	case r.Outcome == client.Done:
		return st.green("started "+r.Service+" in "+took) + ": " + generation(r.To)
	case r.Outcome == client.RolledBack:
		return st.red("rolled back after "+took) + ": " + generation(r.From) + " serves as before"
	case r.From != nil:
		return st.red("failed after "+took) + ": " + r.Service + " has no generation that serves"
	}
	return st.red("could not start " + r.Service)
}

func generation(g *client.Generation) string {
	if g == nil {
		return "nothing"
	}
	return fmt.Sprintf("generation %d (pid %d)", g.Number, g.PID)
}

// drainLines is how the generation that left did so.
func drainLines(from *client.Generation, d client.Drain) []string {
	who := "the service"
	if from != nil {
		who = fmt.Sprintf("generation %d", from.Number)
	}
	how := "left in " + short(d.Took) + ", " + d.Exit
	if d.Killed {
		how = "was killed after " + short(d.Took)
	}
	if !d.Told {
		return []string{"  " + who + " " + how + ", without an account of its connections"}
	}
	cut := "none cut"
	if n := len(d.Cut) + d.CutMore; n > 0 {
		cut = count(n, "connection", "connections") + " cut:"
	}
	lines := []string{fmt.Sprintf("  %s %s: %d in flight, %d finished, %s", who, how, d.InFlight, d.Finished, cut)}
	lines = append(lines, cutLines(d.Cut)...)
	if d.CutMore > 0 {
		lines = append(lines, fmt.Sprintf("    and %d more", d.CutMore))
	}
	return lines
}

// cutLines is a table, a line each.
func cutLines(cuts []client.Cut) (lines []string) {
	var b strings.Builder
	tw := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, c := range cuts {
		fmt.Fprintf(tw, "    %s\t%s\t%s\t%s\t%s\t%s\n", c.Kind, c.State,
			clean(strings.TrimSpace(c.Method+" "+c.Path)), short(c.Age), clean(c.Remote), clean(c.Reason))
	}
	tw.Flush()
	if b.Len() > 0 {
		for l := range strings.SplitSeq(strings.TrimRight(b.String(), "\n"), "\n") {
			lines = append(lines, strings.TrimRight(l, " "))
		}
	}
	return lines
}

// lostLines is what a generation that failed has lost: its requests by name. The
// connections without one are counted; --json has them all.
func lostLines(r client.Report) []string {
	if len(r.Lost) == 0 && r.LostMore == 0 {
		return nil
	}
	var requests []client.Cut
	for _, c := range r.Lost {
		if c.State == "active" || c.State == "hijacked" {
			requests = append(requests, c)
		}
	}
	lost := []string{count(len(requests), "request", "requests")}
	if n := len(r.Lost) - len(requests); n > 0 {
		lost = append(lost, count(n, "connection", "connections")+" without one")
	}
	if r.LostMore > 0 {
		lost = append(lost, fmt.Sprintf("%d more without a name", r.LostMore))
	}
	who := "the new generation"
	if r.To != nil {
		who = fmt.Sprintf("generation %d", r.To.Number)
	}
	colon := ":"
	if len(requests) == 0 {
		colon = ""
	}
	return append([]string{"  lost with " + who + ": " + strings.Join(lost, ", ") + colon}, cutLines(requests)...)
}
