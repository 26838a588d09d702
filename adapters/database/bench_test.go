//go:build unix

package database_test

import (
	"fmt"
	"testing"

	"github.com/playhead/playhead/adapters/database"
	"github.com/playhead/playhead/adapters/database/databasetest"
)

// BenchmarkLook is what a node asks every few seconds; BenchmarkLook/all what it reads when one of 10,000
// apps has changed.
func BenchmarkLook(b *testing.B) {
	for _, kind := range databasetest.Kinds {
		s := databasetest.Start(b, kind)
		cfg := s.Database(b)
		d, err := database.New(cfg)
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { d.Close() })
		if _, err := d.Migrate(b.Context()); err != nil {
			b.Fatal(err)
		}
		apps, keys := "INSERT INTO playhead_apps (id, settings) VALUES ", "INSERT INTO playhead_app_keys (app_id, app_key, secret) VALUES "
		for i := range 10_000 {
			comma := ","
			if i == 0 {
				comma = ""
			}
			apps += fmt.Sprintf(`%s('%d', '{"client_events": true, "limits": {"connections": 100}}')`, comma, i)
			keys += fmt.Sprintf(`%s('%d', 'key%d', '0123456789012345678901234567890123456789')`, comma, i, i)
		}
		s.AskAll(b, cfg.Name, apps, keys)
		b.Run(string(kind)+"/revision", func(b *testing.B) {
			for b.Loop() {
				if _, err := d.Revision(b.Context()); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(string(kind)+"/all", func(b *testing.B) {
			for b.Loop() {
				if set, err := d.Apps(b.Context()); err != nil || len(set.Apps) != 10_000 {
					b.Fatal(len(set.Apps), err)
				}
			}
		})
	}
}
