package handover

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Fields of LEND: sockets that the asker has already; in the answer the names of those
// that come with it, and how many are left.
const (
	lendAfter = "AFTER"
	lendNames = "SOCKETS"
	lendLeft  = "LEFT"
)

// LendSockets answers a LEND with sockets, which it takes over: as many as travel with
// one answer, from where the request says. They must be the same ones, in the same
// order, for each request.
func LendSockets(r Request, sockets []Socket) (Fields, error) {
	after, err := 0, error(nil)
	if v := r.Fields[lendAfter]; v != "" {
		after, err = strconv.Atoi(v)
	}
	if err != nil || after < 0 || after > len(sockets) {
		closeSockets(sockets)
		return nil, fmt.Errorf("cannot lend sockets after %q: there are %d", r.Fields[lendAfter], len(sockets))
	}
	end := min(after+maxPacketFiles, len(sockets))
	closeSockets(sockets[:after])
	closeSockets(sockets[end:])
	var names []string
	for _, s := range sockets[after:end] {
		names = append(names, s.Name)
		r.Answer(s.File)
	}
	return Fields{lendNames: strings.Join(names, ":"), lendLeft: strconv.Itoa(len(sockets) - end)}, nil
}

// Borrow asks the generation at the other end for duplicates of its listening sockets,
// those that it has opened itself among them: LEND. The caller owns them.
func (l *Link) Borrow(ctx context.Context) (all []Socket, err error) {
	defer func() {
		if err != nil {
			closeSockets(all)
			all = nil
			err = fmt.Errorf("cannot borrow the sockets of the generation: %w", err)
		}
	}()
	for {
		f, files, err := l.Fetch(ctx, Lend, Fields{lendAfter: strconv.Itoa(len(all))})
		if err != nil {
			return all, err
		}
		var names []string
		if f[lendNames] != "" {
			names = strings.Split(f[lendNames], ":")
		}
		for i, file := range files {
			s := Socket{File: file}
			if i < len(names) {
				s.Name = names[i]
			}
			all = append(all, s)
			err = errors.Join(err, CheckName(s.Name), checkListening(file))
		}
		left, bad := strconv.Atoi(f[lendLeft])
		switch {
		case err != nil:
			return all, err
		case len(names) != len(files):
			return all, fmt.Errorf("it names %d and sends %d; raise the limit of open files (ulimit -n)", len(names), len(files))
		case bad != nil || left < 0 || left > 0 && len(files) == 0 || len(all)+left > maxSockets:
			return all, fmt.Errorf("it says that %q are left, after %d", f[lendLeft], len(all))
		case left == 0:
			return all, nil
		}
	}
}

func closeSockets(all []Socket) {
	for _, s := range all {
		s.File.Close()
	}
}
