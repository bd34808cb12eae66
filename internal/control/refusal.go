package control

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"

	"github.com/segue-go/segue/client"
)

// refusal is an error with the HTTP status that it is worth.
type refusal struct {
	status int
	told   *client.Error
}

func (r refusal) Error() string { return r.told.Error() }

func newRefusal(status int, message, hint string) error {
	return refusal{status, &client.Error{Message: message, Hint: hint}}
}

// refuse answers with err. One that does not know its status is a conflict: what
// was asked cannot be done in the present state.
func refuse(w http.ResponseWriter, err error) {
	r := refusal{http.StatusConflict, explain(err)}
	errors.As(err, &r)
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(r.status)
	json.NewEncoder(w).Encode(r.told)
}

// explain makes a [client.Error] of any error. Errors of this module end with
// what to do after the last semicolon; those of several lines have it in each, where
// it stays.
func explain(err error) *client.Error {
	var told *client.Error
	if errors.As(err, &told) {
		return told
	}
	text := err.Error()
	if i := strings.LastIndex(text, "; "); i > 0 && !strings.Contains(text, "\n") {
		return &client.Error{Message: text[:i], Hint: text[i+2:]}
	}
	return &client.Error{Message: text}
}
