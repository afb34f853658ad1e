package kernel

import "testing"

// Each feature can be asked for, and the answer is the same the next time.
func TestHas(t *testing.T) {
	for _, f := range Features() {
		first, err := f.Has()
		if err != nil {
			t.Errorf("%s: %v", f.Name, err)
		}
		if again, err := f.Has(); again != first || err != nil {
			t.Errorf("%s: %v, then %v, %v", f.Name, first, again, err)
		}
		t.Logf("%s: %v", f.Name, first)
	}
}
