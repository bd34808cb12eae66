// Package sample says what a handful of noisy measurements amount to: a median
// and an interval for it. Nothing is assumed of their distribution; what it
// cannot see is an error that all of them share.
package sample

import (
	"math"
	"slices"
)

// Confidence is the least probability with which an interval holds the true
// median, where there are enough values for it.
const Confidence = 0.95

// Median of values; NaN of none.
func Median(values []float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	v := slices.Sorted(slices.Values(values))
	if mid := len(v) / 2; len(v)%2 == 0 {
		return (v[mid-1] + v[mid]) / 2
	} else {
		return v[mid]
	}
}

// MedianOf is the Median of something about each element.
func MedianOf[T any](all []T, of func(T) float64) float64 {
	values := make([]float64, len(all))
	for i, a := range all {
		values[i] = of(a)
	}
	return Median(values)
}

// Interval is between the order statistics that hold the true median with the
// given probability: the number of values below it is binomial with 1/2. With
// fewer than six values no two of them reach Confidence; the interval is then
// the whole range.
func Interval(values []float64) (lo, hi, probability float64) {
	v := slices.Sorted(slices.Values(values))
	n := len(v)
	if n == 0 {
		return math.NaN(), math.NaN(), 0
	}
	// k values are left out on each side, and outside is the probability that the
	// median is among them.
	k, outside := 0, math.Pow(0.5, float64(n))
	for term := outside; k+1 <= (n-1)/2; k++ {
		term *= float64(n-k) / float64(k+1)
		if 1-2*(outside+term) < Confidence {
			break
		}
		outside += term
	}
	return v[k], v[n-1-k], 1 - 2*outside
}
