package supervise

import (
	"errors"
	"fmt"
	"slices"
)

// Plan is what a supervisor supervises.
type Plan struct {
	Name     string // of the supervisor, and of its directory
	Dir      string // runtime directory: sockets, lock, state, and a directory for each service
	File     string // that it was read from, absolute; "" for none
	Version  string // of the supervisor's command
	Readers  string // group whose members may read the control API; "" for none
	Services []Member

	// Read reads the plan again, for a reload; nil when there is nothing to read.
	Read func() (Plan, error)
}

// Member is a service with its place in the plan.
type Member struct {
	Config
	Instances int      // 0 is 1
	DependsOn []string // services that must be ready before it is started; it is stopped before them
	Manual    bool     // is started by Start only
}

// Check reports everything that is wrong with p, at once. It opens nothing.
func (p Plan) Check() error {
	var errs []error
	if !validName.MatchString(p.Name) {
		errs = append(errs, fmt.Errorf("cannot call a supervisor %q: %s", p.Name, nameRule))
	}
	if len(p.Services) == 0 {
		errs = append(errs, errors.New("cannot supervise nothing: name at least one service"))
	}
	seen := map[string]bool{}
	for _, m := range p.Services {
		errs = append(errs, m.Check())
		for n := range max(1, m.Instances) {
			name := instanceName(m.Name, n)
			if seen[name] {
				errs = append(errs, fmt.Errorf("cannot have two services called %q; give each a name of its own, which is none of an instance either", name))
			}
			seen[name] = true
		}
		if slices.Contains(reserved, m.Name) {
			errs = append(errs, fmt.Errorf("cannot call a service %q: the supervisor has a file of that name; choose another one with --name", m.Name))
		}
	}
	if _, err := p.order(); err != nil {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// reserved are the names of what the supervisor keeps beside the directories of
// its services.
var reserved = []string{"lock", "api.sock", "api.sock.new"}

// instanceName is that of instance n of a service, counted from 0.
func instanceName(service string, n int) string {
	if n == 0 {
		return service
	}
	return fmt.Sprintf("%s.%d", service, n+1)
}

// order is the services with everything after what it depends on, otherwise as
// they stand.
func (p Plan) order() ([]Member, error) {
	var ordered []Member
	placed := map[string]bool{}
	for len(ordered) < len(p.Services) {
		i := slices.IndexFunc(p.Services, func(m Member) bool {
			return !placed[m.Name] && !slices.ContainsFunc(m.DependsOn, func(d string) bool { return !placed[d] })
		})
		if i < 0 {
			var stuck []string
			for _, m := range p.Services {
				if !placed[m.Name] {
					stuck = append(stuck, m.Name)
				}
			}
			return nil, fmt.Errorf("cannot order the services %v: each waits for another one of them, or for one that is not there", stuck)
		}
		placed[p.Services[i].Name] = true
		ordered = append(ordered, p.Services[i])
	}
	return ordered, nil
}
