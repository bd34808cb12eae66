package cli

import (
	"cmp"
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/segue-go/segue/client"
)

// reportLines is the summary of what was done, without its steps, and then that
// of each part.
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
		add("hint: `segue logs %s --generation %d` shows all of it", r.Service, r.To.Number)
	}
	for _, p := range r.Parts {
		part := reportLines(st, p)
		if !strings.Contains(part[0], p.Service) {
			part[0] = p.Service + ": " + part[0]
		}
		for _, l := range part {
			add("%s", l)
		}
	}
	if len(r.Unchanged) > 0 && len(r.Parts) > 0 {
		add("unchanged: %s", strings.Join(r.Unchanged, ", "))
	}
	return lines
}

// headline is what a report comes to, in one line.
func headline(st style, r client.Report) string {
	took, what := short(r.Took), cmp.Or(r.Service, "all services")
	switch r.Action {
	case "stop":
		if r.Outcome == client.Done {
			return st.green(fmt.Sprintf("stopped %s in %s", what, took))
		}
		return st.red(fmt.Sprintf("stopped %s by force after %s", what, took))
	case "reload":
		return reloaded(st, r)
	}
	done := map[string]string{"rollback": "rolled back ", "start": "started "}[r.Action]
	switch {
	case done == "" && r.From == nil && len(r.Parts) == 0:
		done = "started "
	case done == "":
		done = "restarted "
	}
	switch {
	case r.Outcome == client.Done && len(r.Parts) > 0:
		return st.green(done + what + " in " + took)
	case r.Outcome == client.Done && r.From != nil:
		return st.green(done+what+" in "+took) + ": " + generation(r.From) + " " + st.arrow + " " + generation(r.To)
	case r.Outcome == client.Done:
		return st.green(done+what+" in "+took) + ": " + generation(r.To)
	case r.Outcome == client.RolledBack && r.Action == "rollback":
		return st.red("could not roll back "+what) + ": " + serves(r)
	case r.Outcome == client.RolledBack:
		return st.red("rolled back after "+took) + ": " + serves(r)
	case r.From != nil:
		return st.red("failed after "+took) + ": " + what + " has no generation that serves"
	case len(r.Parts) > 0:
		return st.red("failed after "+took) + ": not all of " + what + " serves"
	}
	return st.red("could not start " + what)
}

// serves is what goes on when a restart did not succeed.
func serves(r client.Report) string {
	if r.From == nil {
		return cmp.Or(r.Service, "everything") + " serves as before"
	}
	return generation(r.From) + " serves as before"
}

// reloaded is the headline of a reload: of a service's configuration, or of the
// supervisor's file.
func reloaded(st style, r client.Report) string {
	what := ""
	if r.Service != "" {
		what = " " + r.Service
	}
	switch {
	case r.Outcome == client.RolledBack:
		return st.red("could not reload"+what) + ": everything is as before"
	case r.Outcome != client.Done:
		return st.red("could not reload" + what)
	case len(r.Parts) > 0:
		return st.green("reloaded in "+short(r.Took)) + fmt.Sprintf(": %d changed, %d unchanged", len(r.Parts), len(r.Unchanged))
	case r.Service == "":
		return st.green("reloaded") + ": nothing has changed"
	}
	return st.green("reloaded" + what)
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
