package manifest

import (
	"testing"

	"github.com/segue-go/segue/internal/launch"
)

// TestLimitNames: the names are those that can be set.
func TestLimitNames(t *testing.T) {
	for _, name := range limitNames {
		if err := (launch.Spec{Limits: map[string]launch.Limit{name: {}}}).Check(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if (launch.Spec{Limits: map[string]launch.Limit{"nofiles": {}}}).Check() == nil {
		t.Error("any name can be set")
	}
}
