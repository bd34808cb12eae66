package manifest

import (
	"strings"

	"github.com/segue-go/segue/internal/supervise"
)

// What was read, as package supervise has it.

func (f *file) plan() supervise.Plan {
	p := supervise.Plan{Name: f.name.value, Readers: f.readers}
	for _, e := range f.services.value {
		s := e.value.value
		p.Services = append(p.Services, s.member(e.name.value))
	}
	return p
}

func (s *service) member(name string) supervise.Member {
	m := s.Member
	m.Name, m.Argv, m.Instances = name, s.command.value, s.instances.value
	m.User = s.user.value
	for _, d := range s.dependsOn {
		m.DependsOn = append(m.DependsOn, d.value)
	}
	m.Env = s.environment()
	for _, l := range s.limits {
		if m.Limits == nil {
			m.Limits = map[string]supervise.Limit{}
		}
		m.Limits[l.name.value] = l.value.value
	}
	for _, e := range s.sockets.value {
		l := e.value.value.Listen
		l.Name = e.name.value
		m.Listen = append(m.Listen, l)
	}
	for _, p := range s.probes {
		m.Probes = append(m.Probes, p.value.built())
	}
	return m
}

// environment is env_files, then env; what comes later replaces what came before.
func (s *service) environment() (all []string) {
	at := map[string]int{}
	set := func(kv string) {
		name, _, _ := strings.Cut(kv, "=")
		if i, there := at[name]; there {
			all[i] = kv
			return
		}
		at[name] = len(all)
		all = append(all, kv)
	}
	for _, f := range s.envFiles {
		for _, kv := range f.value {
			set(kv)
		}
	}
	for _, e := range s.env {
		set(e.name.value + "=" + e.value.value)
	}
	return all
}

func (p probe) built() supervise.Probe {
	b := supervise.Probe{Socket: p.socket.value, Path: p.http.value, Command: p.command.value, Timeout: p.timeout}
	if p.tcp.node != nil {
		b.TCP, b.Socket = true, p.tcp.value
	}
	return b
}

func (h hook) built() supervise.Hook {
	return supervise.Hook{On: h.on, Command: h.command.value, URL: h.url.value}
}
