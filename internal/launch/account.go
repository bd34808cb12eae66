package launch

import (
	"bufio"
	"fmt"
	"os"
	"os/user"
	"slices"
	"strconv"
	"strings"
)

// account is who a program runs as.
type account struct {
	UID, GID int
	Groups   []int // supplementary ones; nil leaves those of the supervisor
	login    login
}

// login is what of an account stands in its environment; "" is not there.
type login struct{ user, home, shell string }

// Owner is who owns the files of what runs as user and group, names or numbers: "" is
// this process's, an empty group the user's.
func Owner(user, group string) (uid, gid int, err error) {
	a, err := accountOf(user, group)
	return a.UID, a.GID, err
}

// accountOf reads the databases of users and groups.
func accountOf(name, group string) (account, error) {
	a := account{UID: os.Geteuid(), GID: os.Getegid()}
	if name != "" {
		var err error
		if a, err = accountOfUser(name, group != ""); err != nil {
			return a, err
		}
	}
	if group == "" {
		return a, nil
	}
	g, err := user.LookupGroup(group)
	if err == nil {
		group = g.Gid
	}
	gid, bad := id(group)
	if bad != nil {
		return a, fmt.Errorf("cannot find group %q: %w; make it (groupadd), or correct the name", group, err)
	}
	for n, of := range a.Groups {
		if of == a.GID {
			a.Groups[n] = gid // in its place, as initgroups(3) has it
		}
	}
	a.GID = gid
	return a, nil
}

// accountOfUser takes a number that nobody has too, if a group is said with it.
func accountOfUser(name string, grouped bool) (account, error) {
	u, err := user.Lookup(name)
	uid, bad := id(name)
	if err != nil && bad == nil {
		u, err = user.LookupId(name)
		if err != nil && grouped {
			return account{UID: uid, GID: -1, Groups: []int{}}, nil
		}
	}
	if err != nil {
		return account{}, fmt.Errorf("cannot find user %q: %w; make it (useradd --system), or correct the name", name, err)
	}
	a := account{login: login{user: u.Username, home: u.HomeDir, shell: shellOf(u.Username)}, Groups: []int{}}
	if a.UID, err = id(u.Uid); err != nil {
		return a, fmt.Errorf("cannot run as user %q: %w", name, err)
	}
	if a.GID, err = id(u.Gid); err != nil {
		return a, fmt.Errorf("cannot run as user %q: %w", name, err)
	}
	groups, err := u.GroupIds()
	if err != nil {
		return a, fmt.Errorf("cannot tell the groups of user %q: %w", name, err)
	}
	for _, g := range groups {
		gid, err := id(g)
		if err != nil {
			return a, fmt.Errorf("cannot run as user %q: %w", name, err)
		}
		a.Groups = append(a.Groups, gid)
	}
	return a, nil
}

// id reads a number of a user or group; the largest one means none (chown(2)).
func id(s string) (int, error) {
	n, err := strconv.ParseUint(s, 10, 32)
	if err == nil && n == 1<<32-1 {
		err = fmt.Errorf("%s is the number of nobody at all", s)
	}
	return int(n), err
}

// shellOf is the user's shell, which package os/user does not tell.
func shellOf(name string) string {
	f, err := os.Open("/etc/passwd")
	if err != nil {
		return ""
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if fields := strings.Split(lines.Text(), ":"); fields[0] == name && len(fields) == 7 {
			return fields[6]
		}
	}
	return ""
}

// loginEnv are the variables that say who the user is.
var loginEnv = []string{"HOME", "LOGNAME", "SHELL", "USER"}

// Environ is what of own, the supervisor's environment, the program inherits: all of
// it, but HOME, LOGNAME, SHELL and USER are those of User, if there is one. A home of
// "/" and a shell that lets nobody in are not set, as systemd has it. What the service
// is to be given besides comes after it.
func (s Spec) Environ(own []string) []string {
	if s.User == "" {
		return own
	}
	env := slices.DeleteFunc(slices.Clone(own), func(kv string) bool {
		k, _, _ := strings.Cut(kv, "=")
		return slices.Contains(loginEnv, k)
	})
	a, err := accountOf(s.User, s.Group)
	if err != nil || a.login.user == "" {
		return env
	}
	env = append(env, "LOGNAME="+a.login.user, "USER="+a.login.user)
	if a.login.home != "" && a.login.home != "/" {
		env = append(env, "HOME="+a.login.home)
	}
	if sh := a.login.shell; sh != "" && !strings.HasSuffix(sh, "/nologin") && !strings.HasSuffix(sh, "/false") {
		env = append(env, "SHELL="+sh)
	}
	return env
}
