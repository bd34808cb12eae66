package sample_test

import (
	"fmt"
	"math"
	"testing"

	"github.com/segue-go/segue/bench/internal/sample"
)

// The probabilities are those of tables of the sign test.
func TestInterval(t *testing.T) {
	for _, test := range []struct {
		n           int
		lo, hi      float64
		probability float64
	}{
		{1, 1, 1, 0},
		{2, 1, 2, 0.5},
		{5, 1, 5, 0.9375},
		{6, 1, 6, 0.96875},
		{8, 1, 8, 0.9921875},
		{9, 2, 8, 0.9609375},
		{10, 2, 9, 0.978515625},
		{20, 6, 15, 0.958610534667969},
	} {
		var values []float64
		for i := range test.n {
			values = append(values, float64(test.n-i))
		}
		lo, hi, p := sample.Interval(values)
		if lo != test.lo || hi != test.hi || math.Abs(p-test.probability) > 1e-12 {
			t.Errorf("of %d: %v to %v with %v, want %v to %v with %v", test.n, lo, hi, p, test.lo, test.hi, test.probability)
		}
	}
}

func ExampleMedian() {
	fmt.Println(sample.Median([]float64{5, 1, 4}), sample.Median([]float64{5, 1, 4, 2}), sample.Median(nil))
	// Output: 4 3 NaN
}
