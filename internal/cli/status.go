package cli

import (
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/segue-go/segue/client"
)

// statusLines is the status as tables. now is the time it is shown at.
func statusLines(st style, all client.Overview, now time.Time) []string {
	s := all.Services[0]
	age := func(t time.Time) string { return short(now.Sub(t)) }
	state := st.green(string(s.State))
	if s.State == client.BackingOff || s.State == client.Failed {
		state = st.red(string(s.State))
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s is %s for %s", st.bold(s.Service), state, age(s.Since))
	if s.Reason != "" {
		fmt.Fprintf(&b, ": %s", clean(s.Reason))
	}
	fmt.Fprintf(&b, "\nsupervisor pid %d, %s; %s, %d rolled back, %s\n", all.PID, all.Version,
		count(s.Restarts, "restart", "restarts"), s.RolledBack, count(s.Crashes, "crash", "crashes"))
	tw := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	if len(s.Sockets) > 0 {
		fmt.Fprintf(tw, "\nSOCKET\tADDRESS\n")
		for _, sock := range s.Sockets {
			fmt.Fprintf(tw, "%s\t%s\n", sock.Name, sock.Addr)
		}
	}
	tw.Flush()
	if len(s.Generations) > 0 {
		fmt.Fprintf(tw, "\nGENERATION\tPID\tROLE\tAGE\tBINARY\tSAYS\n")
		for _, g := range s.Generations {
			says := clean(g.Status)
			if !g.Managed {
				says = strings.TrimSpace(says + " (no control wire: it cannot be tried or paused)")
			}
			fmt.Fprintf(tw, "%d\t%d\t%s\t%s\t%s\t%s\n", g.Number, g.PID, g.Role, age(g.Started), g.Binary, says)
		}
	}
	tw.Flush()
	if r := s.LastReport; r != nil {
		fmt.Fprintf(&b, "\nlast %s, %s ago:\n", r.Action, age(r.Began.Add(r.Took)))
		for _, step := range r.Steps {
			fmt.Fprintln(&b, stepRow(st, step, ""))
		}
		fmt.Fprintln(&b, strings.Join(reportLines(st, *r), "\n"))
	}
	lines := strings.Split(strings.TrimRight(b.String(), "\n"), "\n")
	for i := range lines {
		lines[i] = strings.TrimRight(lines[i], " ")
	}
	return lines
}
