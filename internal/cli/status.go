package cli

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/segue-go/segue/client"
)

// statusLines is the status of a service, or with "" of all of them. now is the
// time it is shown at.
func statusLines(st style, all client.Overview, service string, now time.Time) []string {
	found := all.Of(service)
	if len(found) == 1 {
		return detailLines(st, all, found[0], now)
	}
	file := ""
	if all.File != "" {
		file = "; " + all.File
	}
	lines := []string{fmt.Sprintf("%s: supervisor pid %d, %s, for %s%s", st.bold(all.Name), all.PID, all.Version, short(now.Sub(all.Since)), file), ""}
	lines = append(lines, tableLines(st, found, now)...)
	if service != "" {
		for _, s := range found {
			lines = append(append(lines, ""), serviceLines(st, s, now)...)
		}
	}
	return lines
}

// tableLines is a line for each service, and what is to be said of those that are
// not as usual.
func tableLines(st style, services []client.Status, now time.Time) []string {
	rows := [][]string{{"SERVICE", "STATE", "SINCE", "GENERATION", "PID", "RESTARTS", "SOCKETS"}}
	var reasons []string
	for _, s := range services {
		generation, pid := "-", "-"
		if g := newest(s); g != nil {
			generation, pid = strconv.Itoa(g.Number), strconv.Itoa(g.PID)
		}
		rows = append(rows, []string{s.Service, string(s.State), short(now.Sub(s.Since)), generation, pid, strconv.Itoa(s.Restarts), cmp.Or(socketList(s), "-")})
		if s.Reason != "" {
			reasons = append(reasons, s.Service+": "+clean(s.Reason))
		}
	}
	lines := table(rows)
	for i, s := range services {
		name, rest := lines[i+1][:len(s.Service)], lines[i+1][len(s.Service):]
		lines[i+1] = name + strings.Replace(rest, string(s.State), paintState(st, s.State), 1)
	}
	if len(reasons) > 0 {
		lines = append(append(lines, ""), reasons...)
	}
	return lines
}

// newest is the generation that serves, or the one that may come to.
func newest(s client.Status) *client.Generation {
	for i, g := range s.Generations {
		if g.Role == client.RoleServing {
			return &s.Generations[i]
		}
	}
	if n := len(s.Generations); n > 0 {
		return &s.Generations[n-1]
	}
	return nil
}

func socketList(s client.Status) string {
	var list []string
	for _, sock := range s.Sockets {
		list = append(list, sock.Name+" "+sock.Addr)
	}
	return strings.Join(list, ", ")
}

func paintState(st style, s client.State) string {
	switch s {
	case client.BackingOff, client.Failed:
		return st.red(string(s))
	case client.Serving, client.Restarting:
		return st.green(string(s))
	}
	return string(s)
}

// detailLines is all that is known of the only service that is shown.
func detailLines(st style, all client.Overview, s client.Status, now time.Time) []string {
	lines := serviceLines(st, s, now)
	supervisor := fmt.Sprintf("supervisor pid %d, %s; ", all.PID, all.Version)
	lines[1] = supervisor + lines[1]
	return lines
}

// serviceLines is the state and the counts of s, and then tables.
func serviceLines(st style, s client.Status, now time.Time) []string {
	age := func(t time.Time) string { return short(now.Sub(t)) }
	head := fmt.Sprintf("%s is %s for %s", st.bold(s.Service), paintState(st, s.State), age(s.Since))
	if s.Reason != "" {
		head += ": " + clean(s.Reason)
	}
	lines := []string{head, fmt.Sprintf("%s, %d rolled back, %s", count(s.Restarts, "restart", "restarts"), s.RolledBack, count(s.Crashes, "crash", "crashes"))}
	if len(s.Sockets) > 0 {
		rows := [][]string{{"SOCKET", "ADDRESS"}}
		for _, sock := range s.Sockets {
			rows = append(rows, []string{sock.Name, sock.Addr})
		}
		lines = append(append(lines, ""), table(rows)...)
	}
	if len(s.Generations) > 0 {
		rows := [][]string{{"GENERATION", "PID", "ROLE", "AGE", "BINARY", "SAYS"}}
		for _, g := range s.Generations {
			says := clean(g.Status)
			if !g.Managed {
				says = strings.TrimSpace(says + " (no control wire: it cannot be tried or paused)")
			}
			rows = append(rows, []string{strconv.Itoa(g.Number), strconv.Itoa(g.PID), string(g.Role), age(g.Started), g.Binary, says})
		}
		lines = append(append(lines, ""), table(rows)...)
	}
	if p := s.Previous; p != nil {
		lines = append(lines, "", fmt.Sprintf("previous: generation %d, %s", p.Number, p.Binary))
	}
	if r := s.LastReport; r != nil {
		lines = append(lines, "", fmt.Sprintf("last %s, %s ago:", r.Action, age(r.Began.Add(r.Took))))
		for _, step := range r.Steps {
			lines = append(lines, stepRow(st, step, "", ""))
		}
		lines = append(lines, reportLines(st, *r)...)
	}
	return lines
}

// stateNow is the state of s in a line.
func stateNow(s client.Status) string {
	line := s.Service + " is " + string(s.State)
	if g := newest(s); g != nil {
		line += fmt.Sprintf(", generation %d (pid %d)", g.Number, g.PID)
	}
	if s.Reason != "" {
		line += ": " + clean(s.Reason)
	}
	return line
}

// table aligns columns of cells without colour.
func table(rows [][]string) []string {
	var b strings.Builder
	tw := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, row := range rows {
		fmt.Fprintln(tw, strings.Join(row, "\t"))
	}
	tw.Flush()
	lines := strings.Split(strings.TrimRight(b.String(), "\n"), "\n")
	for i := range lines {
		lines[i] = strings.TrimRight(lines[i], " ")
	}
	return lines
}
