package verify

import (
	"fmt"
	"io"
	"text/tabwriter"
	"time"
)

// Table prints the result as aligned text.
func (r Result) Table(w io.Writer) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(tw, "requests\tsent\tlost\tasked\tunasked\tp50\tp99\tp99.9\tmax\tduring: p50\tp99\tmax\tsilence\t")
	for _, k := range append(r.Kinds[:len(r.Kinds):len(r.Kinds)], r.Total) {
		fmt.Fprintf(tw, "%s\t%d\t%d\t%d\t%d\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t\n", k.Kind, k.Sent, k.Lost, k.Asked, k.Unasked,
			ms(k.Steady, k.Steady.P50), ms(k.Steady, k.Steady.P99), ms(k.Steady, k.Steady.P999), ms(k.Steady, k.Steady.Max),
			ms(k.During, k.During.P50), ms(k.During, k.During.P99), ms(k.During, k.During.Max), dur(k.Silence))
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(w, "asked, unasked: reconnects the service announced, and did not; during: in the windows marked (%d); times in ms; %v, seed %d\n",
		len(r.Windows), r.Took.Round(time.Millisecond), r.Seed)
	for _, k := range r.Kinds {
		if k.Lost > 0 {
			fmt.Fprintf(w, "lost %s: %s\n", k.Kind, k.causes())
			for _, e := range k.Examples {
				fmt.Fprintf(w, "  %s from %s at %s: %s\n", e.ID, e.Local, e.At.Format("15:04:05.000"), e.Detail)
			}
		}
	}
	if t := r.Total; t.Bound > 0 {
		fmt.Fprintf(w, "0 of %d lost: with 95%% confidence fewer than %.2g%% are\n", t.Sent, 100*t.Bound)
	}
	if c := r.Service; c != nil {
		fmt.Fprintf(w, "service: applied %d, twice %d, applied but the client saw an error %d, acknowledged but not applied %d\n",
			c.Applied, c.Twice, c.Phantom, c.Missing)
		if p := c.processes(); p != "" {
			fmt.Fprintf(w, "applied by process/generation: %s\n", p)
		}
		if err := c.Err(); err != nil {
			fmt.Fprintln(w, err)
		}
	} else {
		fmt.Fprintln(w, "the service's ledger was not compared: what was applied twice is not known")
	}
	return nil
}

// ms is a latency, or a dash where nothing was measured.
func ms(of Latency, d time.Duration) string {
	if of.N == 0 {
		return "-"
	}
	return dur(d)
}

func dur(d time.Duration) string { return fmt.Sprintf("%.1f", float64(d)/1e6) }
