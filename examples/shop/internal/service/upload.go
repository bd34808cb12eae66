package service

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/segue-go/segue/examples/shop/internal/model"
	"github.com/segue-go/segue/examples/shop/internal/repository"
	"github.com/segue-go/segue/examples/shop/internal/reqid"
)

// Uploads receives files of any size in constant memory.
type Uploads struct {
	db   *repository.DB
	dir  string
	keep bool
}

// NewUploads keeps files in dir, named by their hash, or only hashes them.
func NewUploads(db *repository.DB, dir string, keep bool) *Uploads {
	return &Uploads{db: db, dir: dir, keep: keep}
}

// Receive reads body to its end. A file is recorded only if it was received
// whole; of one that was not, nothing stays behind.
func (s *Uploads) Receive(ctx context.Context, body io.Reader) (u model.Upload, err error) {
	hash := sha256.New()
	var dst io.Writer = hash
	var file *os.File
	if s.keep {
		if file, err = os.CreateTemp(s.dir, "incoming-*"); err != nil {
			return u, fmt.Errorf("cannot keep the upload: %w", err)
		}
		defer os.Remove(file.Name()) // of no effect once it is renamed
		defer file.Close()
		dst = io.MultiWriter(hash, file)
	}
	n, err := io.Copy(dst, body)
	if err != nil {
		return u, err
	}
	u = model.Upload{Bytes: n, SHA256: hex.EncodeToString(hash.Sum(nil)), Kept: s.keep}
	if file != nil {
		if err := file.Close(); err != nil {
			return u, fmt.Errorf("cannot keep the upload: %w", err)
		}
		if err := os.Rename(file.Name(), filepath.Join(s.dir, u.SHA256)); err != nil {
			return u, fmt.Errorf("cannot keep the upload: %w", err)
		}
	}
	err = s.db.Write(ctx, func(tx *repository.Tx) error {
		if err := tx.AddUpload(u, time.Now()); err != nil {
			return err
		}
		return tx.Apply(reqid.ForLedger(ctx))
	})
	return u, err
}
