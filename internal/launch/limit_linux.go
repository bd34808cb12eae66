package launch

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// resources are the limits of setrlimit(2).
var resources = map[string]int{
	"as": unix.RLIMIT_AS, "core": unix.RLIMIT_CORE, "cpu": unix.RLIMIT_CPU, "data": unix.RLIMIT_DATA,
	"fsize": unix.RLIMIT_FSIZE, "locks": unix.RLIMIT_LOCKS, "memlock": unix.RLIMIT_MEMLOCK,
	"msgqueue": unix.RLIMIT_MSGQUEUE, "nice": unix.RLIMIT_NICE, "nofile": unix.RLIMIT_NOFILE,
	"nproc": unix.RLIMIT_NPROC, "rss": unix.RLIMIT_RSS, "rtprio": unix.RLIMIT_RTPRIO,
	"rttime": unix.RLIMIT_RTTIME, "sigpending": unix.RLIMIT_SIGPENDING, "stack": unix.RLIMIT_STACK,
}

// limitOf says what this process may not give.
func limitOf(name string, l Limit) (limit, error) {
	resource, ok := resources[name]
	if !ok {
		return limit{}, fmt.Errorf("cannot set limit %q: there is none of that name; the names are %s",
			name, strings.Join(slices.Sorted(maps.Keys(resources)), ", "))
	}
	if l.Soft > l.Hard {
		return limit{}, fmt.Errorf("cannot set limit %s to %s: it is above the hard one of %s", name, amount(l.Soft), amount(l.Hard))
	}
	var now unix.Rlimit
	if err := unix.Getrlimit(resource, &now); err != nil {
		return limit{}, fmt.Errorf("cannot set limit %s: %w", name, err)
	}
	if l.Hard > now.Max && !capable(unix.CAP_SYS_RESOURCE) {
		return limit{}, fmt.Errorf("cannot set limit %s to %s: this process may not raise its own of %s; raise the supervisor's, or run it as root",
			name, amount(l.Hard), amount(now.Max))
	}
	if most := mostFiles(); name == "nofile" && l.Hard > most {
		return limit{}, fmt.Errorf("cannot set limit nofile to %s: this machine has no more than %d; raise fs.nr_open (sysctl)", amount(l.Hard), most)
	}
	return limit{Name: name, Resource: resource, Limit: l}, nil
}

// mostFiles is the most that anybody may have open (/proc/sys/fs/nr_open).
func mostFiles() uint64 {
	data, _ := os.ReadFile("/proc/sys/fs/nr_open")
	n, err := strconv.ParseUint(strings.TrimSpace(string(data)), 10, 64)
	if err != nil {
		return Infinity
	}
	return n
}

func amount(n uint64) string {
	if n == Infinity {
		return "unlimited"
	}
	return strconv.FormatUint(n, 10)
}

// capable says whether this process has a capability (capabilities(7)).
func capable(capability int) bool {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return os.Geteuid() == 0
	}
	return data[capability/32].Effective&(1<<(capability%32)) != 0
}
