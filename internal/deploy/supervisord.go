package deploy

import (
	_ "embed"
	"errors"
	"fmt"
	"strings"
	"text/template"
)

var (
	//go:embed supervisord.conf.tmpl
	programText string

	supervisordText = template.Must(template.New("program").Funcs(template.FuncMap{
		"words": supervisordWords, "plain": supervisordPlain, "seconds": seconds,
	}).Parse(programText))
)

// Supervisord writes the section of a job. Only `segue run` can be one:
// supervisord would start a second copy of a program that hands over to another.
func Supervisord(j Job) (File, error) {
	if err := j.check(); err != nil {
		return File{}, err
	}
	if !j.Supervised() {
		return File{}, errors.New("cannot have supervisord run a service that hands over by itself: it would start a second copy; let it start segue run, without --library")
	}
	text, err := execute(supervisordText, "program", j)
	return File{j.Name + ".conf", text}, err
}

// supervisordWords quotes a command line for shlex, with expansions doubled, and
// refuses what its reader of files would take for a comment, quotes or not.
func supervisordWords(all []string) (string, error) {
	words := make([]string, len(all))
	for i, s := range all {
		if strings.ContainsAny(s, "\n\r\x00") {
			return "", fmt.Errorf("cannot write %q for supervisord: an argument has one line; put it into segue.yaml", s)
		}
		if !plainWord.MatchString(s) {
			s = "'" + strings.ReplaceAll(s, "'", `'"'"'`) + "'"
		}
		words[i] = s
	}
	return supervisordPlain(strings.Join(words, " "))
}

func supervisordPlain(s string) (string, error) {
	if strings.ContainsAny(s, "\n\r\x00") || strings.TrimSpace(s) != s || strings.Contains(s, " ;") || strings.Contains(s, " #") {
		return "", fmt.Errorf("cannot write %q for supervisord: it takes a part for a comment, or for nothing; rename it", s)
	}
	return strings.ReplaceAll(s, "%", "%%"), nil
}
