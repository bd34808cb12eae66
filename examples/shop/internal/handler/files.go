package handler

import (
	"errors"
	"io"
	"mime"
	"net/http"

	"github.com/gin-gonic/gin"

	"github.com/segue-go/segue/examples/shop/internal/apperr"
	"github.com/segue-go/segue/examples/shop/internal/service"
)

// Uploads answers /api/upload.
type Uploads struct {
	uploads *service.Uploads
	max     int64
}

// NewUploads returns the handler of uploads of at most limit bytes.
func NewUploads(uploads *service.Uploads, limit int64) *Uploads { return &Uploads{uploads, limit} }

// Create answers POST /api/upload. The file is the body, or the first file of a
// multipart form. It is never held in memory.
func (h *Uploads) Create(c *gin.Context) {
	c.Request.Body = http.MaxBytesReader(c.Writer, c.Request.Body, h.max)
	body := io.Reader(c.Request.Body)
	if kind, _, err := mime.ParseMediaType(c.GetHeader("Content-Type")); err == nil && kind == "multipart/form-data" {
		if body, err = firstFile(c.Request); err != nil {
			fail(c, err)
			return
		}
	}
	u, err := h.uploads.Receive(c.Request.Context(), body)
	if err != nil {
		fail(c, err)
		return
	}
	c.JSON(http.StatusCreated, u)
}

func firstFile(r *http.Request) (io.Reader, error) {
	form, err := r.MultipartReader()
	if err != nil {
		return nil, apperr.New(apperr.Invalid, "the form cannot be read: %v", err)
	}
	for {
		part, err := form.NextPart()
		var tooLarge *http.MaxBytesError
		switch {
		case errors.Is(err, io.EOF):
			return nil, apperr.New(apperr.Invalid, "the form has no file")
		case errors.As(err, &tooLarge):
			return nil, err
		case err != nil:
			return nil, apperr.New(apperr.Invalid, "the form cannot be read: %v", err)
		case part.FileName() != "":
			return part, nil
		}
	}
}
