package subject

import "time"

// cpuTime is not told apart here: the figure is 0.
func cpuTime() time.Duration { return 0 }
