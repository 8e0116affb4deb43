package sources

import "time"

// lingers is how long the output of a command is kept that nothing needs any more. What is
// created and started at once needs it twice; so does a sandbox that is restarted.
const lingers = soonest

// linger keeps a command's feed for a while, but does not run the command meanwhile. It reports
// whether there is something good to keep. The caller holds s.mu.
func (s *Sources) linger(f *feed) bool {
	if f.stop != nil || f.gone || !f.state.Has || f.state.Problem != "" {
		return false
	}
	s.due.Remove(f.key)
	if f.lingering == nil {
		f.lingering = time.AfterFunc(lingers, func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			f.gone = f.lingering != nil
			s.drop(f)
		})
	}
	return true
}

// takeUp ends the lingering of a feed that is needed again. The caller holds s.mu.
func (s *Sources) takeUp(f *feed) {
	if f.lingering == nil {
		return
	}
	f.lingering.Stop()
	f.lingering = nil
	s.due.Set(f.key, f.state.NextAt, f.urgency())
}
