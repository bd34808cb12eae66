// Package closest guesses what a mistyped word was meant to be.
package closest

// Word is the word that a mistyped one was probably meant to be: at most two
// letters away, or begun with it. "" if there is none.
func Word(typed string, words []string) string {
	best, least := "", 3
	for _, w := range words {
		d := distance(typed, w)
		if len(typed) > 1 && len(typed) < len(w) && w[:len(typed)] == typed {
			d = min(d, 1)
		}
		if d < least && d < len(w) {
			best, least = w, d
		}
	}
	return best
}

// distance counts the letters to insert, delete or replace (Levenshtein).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			replace := diagonal
			if a[i] != b[j] {
				replace++
			}
			diagonal = row[j+1]
			row[j+1] = min(replace, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
