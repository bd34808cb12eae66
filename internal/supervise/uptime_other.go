//go:build !linux

package supervise

import "time"

func uptime() time.Duration { return 0 }
