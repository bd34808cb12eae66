package verify

import (
	"errors"
	"net/http"
	"strings"

	"golang.org/x/net/http2"
)

// read is the connection's reader: it applies every frame until the connection
// ends, and then ends the streams that are left.
func (h *h2conn) read() {
	defer close(h.done)
	var err error
	for err == nil {
		var f http2.Frame
		if f, err = h.fr.ReadFrame(); err == nil {
			err = h.apply(f)
		} else if se := (http2.StreamError{}); errors.As(err, &se) {
			h.end(se.StreamID, &Loss{Cause: Malformed, Err: err})
			err = nil
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, st := range h.streams {
		if !st.ended && st.err == nil {
			st.err = wireLoss(err, st.answered)
		}
	}
	if h.err == nil {
		h.err = err
	}
	h.changed.Broadcast()
	h.c.Close()
}

// apply handles one frame; an error ends the connection.
func (h *h2conn) apply(f http2.Frame) error {
	switch f := f.(type) {
	case *http2.MetaHeadersFrame:
		h.headers(f)
	case *http2.DataFrame:
		return h.data(f)
	case *http2.RSTStreamFrame:
		h.end(f.StreamID, lossf(Stream, "RST_STREAM %v", f.ErrCode))
	case *http2.GoAwayFrame:
		h.goaway(f)
	case *http2.SettingsFrame:
		return h.settings(f)
	case *http2.WindowUpdateFrame:
		h.windowUpdate(f)
	case *http2.PingFrame:
		if !f.IsAck() {
			h.send(func() error { return h.fr.WritePing(true, f.Data) })
		}
	case *http2.PushPromiseFrame:
		return lossf(Malformed, "PUSH_PROMISE although push is disabled")
	}
	return nil
}

func (h *h2conn) headers(f *http2.MetaHeadersFrame) {
	h.mu.Lock()
	defer h.mu.Unlock()
	defer h.changed.Broadcast()
	st := h.streams[f.StreamID]
	if st == nil {
		return
	}
	status := f.PseudoValue("status")
	if !st.answered && !strings.HasPrefix(status, "1") { // interim answers are skipped
		st.answered, st.status, st.header = true, status, make(http.Header)
		for _, hf := range f.RegularFields() {
			st.header.Add(hf.Name, hf.Value)
		}
	}
	st.ended = st.ended || f.StreamEnded()
}

// data gives the connection's window back at once, so that a stream that is
// read slowly holds up itself only; recv gives the stream's back.
func (h *h2conn) data(f *http2.DataFrame) error {
	h.mu.Lock()
	if st := h.streams[f.StreamID]; st != nil {
		st.body.Write(f.Data())
		st.ended = st.ended || f.StreamEnded()
		h.changed.Broadcast()
	}
	h.mu.Unlock()
	if f.Length > 0 {
		// A failure is remembered by send; reading goes on.
		h.send(func() error { return h.fr.WriteWindowUpdate(0, f.Length) })
	}
	return nil
}

// end ends a stream early. One whose answer is complete stays answered: a server
// may reset the rest of a request it did not need (RFC 9113, section 8.1).
func (h *h2conn) end(id uint32, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if st := h.streams[id]; st != nil && !st.ended && st.err == nil {
		st.err = err
	}
	h.changed.Broadcast()
}

// goaway: no new streams here, and those above the last id were not processed.
// A graceful server sends two, the first with the highest id there is.
func (h *h2conn) goaway(f *http2.GoAwayFrame) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.leaving = true
	for id, st := range h.streams {
		if id > f.LastStreamID && !st.ended && st.err == nil {
			st.err = errAboveGoaway
		}
	}
	if len(h.streams) == 0 {
		h.c.Close() // asked to leave, and nothing keeps us
	}
	h.changed.Broadcast()
}

func (h *h2conn) settings(f *http2.SettingsFrame) error {
	if f.IsAck() {
		return nil
	}
	h.mu.Lock()
	err := f.ForeachSetting(func(s http2.Setting) error {
		if err := s.Valid(); err != nil {
			return err
		}
		switch s.ID {
		case http2.SettingMaxConcurrentStreams:
			h.most = int(min(s.Val, 1<<30))
		case http2.SettingInitialWindowSize: // also of the streams that are open
			for _, st := range h.streams {
				st.window += int64(s.Val) - h.initial
			}
			h.initial = int64(s.Val)
		}
		return nil
	})
	h.changed.Broadcast()
	h.mu.Unlock()
	if err != nil {
		return err
	}
	h.send(func() error {
		if v, ok := f.Value(http2.SettingHeaderTableSize); ok {
			h.enc.SetMaxDynamicTableSizeLimit(v)
		}
		return h.fr.WriteSettingsAck()
	})
	return nil
}

func (h *h2conn) windowUpdate(f *http2.WindowUpdateFrame) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if f.StreamID == 0 {
		h.window += int64(f.Increment)
	} else if st := h.streams[f.StreamID]; st != nil {
		st.window += int64(f.Increment)
	}
	h.changed.Broadcast()
}
