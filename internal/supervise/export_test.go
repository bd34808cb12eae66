package supervise

// StopsAsked is how many callers wait for the service's end.
func (s *Service) StopsAsked() (n int) {
	s.do(func() error {
		if s.stopping != nil {
			n = len(s.stopping.waiters)
		}
		return nil
	})
	return n
}
