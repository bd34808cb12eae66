package main

import (
	"fmt"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	s := parse(`goos: linux
BenchmarkRequest-2   	      12	        63926 bare-req/s	         4.147 lost-%
BenchmarkRequest-2   	      12	        61683 bare-req/s	        -0.4327 lost-%
BenchmarkLayer/handler=gin-2   400   126.2 added-ns/req
BenchmarkBroken
PASS
`)
	want := "map[Layer/handler=gin added-ns/req:[126.2] Request bare-req/s:[63926 61683] Request lost-%:[4.147 -0.4327]]"
	if got := fmt.Sprint(s); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestVerdict(t *testing.T) {
	limit := target{sample: "x", most: 10, noise: "n"}
	for _, test := range []struct {
		values []float64
		want   string
	}{
		{[]float64{5, 6, 7, 8, 9, 10}, "met"},
		{[]float64{5, 6, 7, 8, 9, 11}, "undecided: the interval crosses the target"},
		{[]float64{11, 12, 13, 14, 15, 16}, "MISSED"},
		{[]float64{-1, 1, 2, 5, 6, 7}, "met; below the noise"},
		{[]float64{0.1, 0.2, 0.3, 0.4, 0.5, 0.6}, "met; below the noise"},
		{nil, "not measured"},
	} {
		f := limit.figure(samples{"x": test.values, "n": {-2, -1, 0, 1, 1, 1}})
		if got := f.verdict(); got != test.want {
			t.Errorf("%v: %q, want %q", test.values, got, test.want)
		}
	}
}

// What was not measured says so, instead of showing a zero.
func TestNothingMeasured(t *testing.T) {
	var b strings.Builder
	result{Samples: samples{}}.markdown(&b)
	if got := strings.Count(b.String(), "not measured"); got != len(targets)+len(parts)*len(restarts)+len(absolutes) {
		t.Errorf("%d cells are not measured:\n%s", got, &b)
	}
}
