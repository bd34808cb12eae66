//go:build !linux

package supervise

import "os"

func swap(a, b string) error { return os.Rename(a, b) }
