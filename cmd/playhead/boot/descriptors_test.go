package boot

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestShare(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		limit uint64
		apps  int
		want  descriptors
	}{
		{0, 1, descriptors{}},
		{1 << 63, 1, descriptors{}}, // none, as systems write it
		{10, 1, descriptors{doors: 8, sessions: 4}},
		{200, 1, descriptors{doors: 136, sessions: 119}},
		{1_024, 1, descriptors{doors: 768, sessions: 672}},
		{20_000, 1, descriptors{doors: 19_485, sessions: 19_229}},
		{20_000, 1_000, descriptors{doors: 16_488, sessions: 16_232}},
		{20_000, 100_000, descriptors{doors: 15_000, sessions: 14_744}},
		{1 << 20, 10, descriptors{doors: 1<<20 - 542, sessions: 1<<20 - 798}},
	} {
		if diff := cmp.Diff(test.want, share(test.limit, test.apps), cmp.AllowUnexported(descriptors{})); diff != "" {
			t.Errorf("%d descriptors, %d apps (-want +got):\n%s", test.limit, test.apps, diff)
		}
	}
}

// What is configured counts where it is less than what there are descriptors for.
func TestClaimDescriptors(t *testing.T) {
	t.Parallel()
	claim := func(wanted int) (descriptors, string) {
		var log bytes.Buffer
		return claimDescriptors(wanted, 1, slog.New(slog.NewTextHandler(&log, nil))), log.String()
	}
	most, said := claim(0)
	if most.sessions == 0 {
		t.Skip("descriptors have no limit here")
	}
	if !strings.Contains(said, "level=INFO") {
		t.Errorf("said %s", said)
	}
	if got, said := claim(1); got.sessions != 1 || got.doors != most.doors || !strings.Contains(said, "level=INFO") {
		t.Errorf("1 wanted: %+v, said %s", got, said)
	}
	if got, said := claim(noDescriptors); got != most || !strings.Contains(said, "level=WARN") {
		t.Errorf("too many wanted: %+v, said %s", got, said)
	}
}
