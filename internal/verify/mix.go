package verify

import "time"

// Mix is every kind over HTTP/1.1 at a pace that leaves most of two processors
// to the service. long is how long slow requests, uploads and downloads take;
// it should exceed a restart.
func Mix(long time.Duration) []Load {
	return []Load{
		{Kind: KeepAlive(), Workers: 8, Rate: 160},
		{Kind: Idle(), Workers: 16, Rate: 16},
		{Kind: OneShot(), Workers: 4, Rate: 40},
		{Kind: Slow(long), Workers: 3},
		{Kind: Upload(long), Workers: 3},
		{Kind: Chunked(long), Workers: 3},
		{Kind: SSE{}, Workers: 4},
	}
}

// MixHTTP2 is the same over HTTP/2; label tells h2 from h2c.
func MixHTTP2(label string, long time.Duration) []Load {
	return []Load{
		{Kind: HTTP2{Label: label, Exchange: Echo, Conns: 4}, Workers: 8, Rate: 80},
		{Kind: HTTP2{Label: label + "-slow", Exchange: SlowWork(long)}, Workers: 2},
		{Kind: HTTP2{Label: label + "-upload", Exchange: UploadPieces(256<<10, 16, long)}, Workers: 2},
		{Kind: HTTP2{Label: label + "-chunked", Exchange: ChunkedDownload(256<<10, 16, long)}, Workers: 2},
	}
}

// At sends loads to another target, under names that begin with prefix: so one
// run can cover TCP, TLS and unix sockets.
func At(t Target, prefix string, loads []Load) []Load {
	out := make([]Load, len(loads))
	for i, l := range loads {
		l.Target, l.Name = &t, prefix+l.name()
		out[i] = l
	}
	return out
}
