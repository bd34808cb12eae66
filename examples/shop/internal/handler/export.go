package handler

import (
	"encoding/csv"
	"net/http"
	"strconv"
	"time"

	"github.com/gin-gonic/gin"
)

const (
	exportPage     = 200
	exportTrailer  = "X-Export-Rows"
	maxExportPause = 1000
)

// Export answers GET /api/export with every order as CSV, in chunks, in constant
// memory. It ends with the orders that existed when it began. The number of rows
// follows in the trailer X-Export-Rows; a failure halfway breaks the
// connection, so half an export never looks whole. ?pause= waits that many
// milliseconds after each chunk.
func (h *Orders) Export(c *gin.Context) {
	ctx := c.Request.Context()
	pause, err := intQuery(c, "pause", 0, 0, maxExportPause)
	if err != nil {
		fail(c, err)
		return
	}
	last, err := h.orders.Newest(ctx)
	if err != nil {
		fail(c, err)
		return
	}
	header := c.Writer.Header()
	header.Set("Content-Type", "text/csv; charset=utf-8")
	header.Set("Content-Disposition", `attachment; filename="orders.csv"`)
	header.Set("Trailer", exportTrailer)
	c.Status(http.StatusOK)

	out := csv.NewWriter(c.Writer)
	_ = out.Write([]string{"id", "product_id", "quantity", "total_cents", "request_id", "created_at"}) // errors are kept for out.Error
	rows := 0
	for after := int64(0); ; {
		out.Flush()
		c.Writer.Flush()
		if out.Error() != nil || after >= last {
			break
		}
		// Page by page: one long read transaction would keep SQLite from ever
		// starting its write-ahead log over.
		orders, err := h.orders.List(ctx, after, exportPage)
		if err != nil {
			h.log.WarnContext(ctx, "export broken off", "err", err, "rows", rows)
			panic(http.ErrAbortHandler)
		}
		if len(orders) == 0 {
			break
		}
		for _, o := range orders {
			if after = o.ID; o.ID > last {
				break
			}
			rows++
			_ = out.Write([]string{
				strconv.FormatInt(o.ID, 10), strconv.FormatInt(o.ProductID, 10), strconv.FormatInt(o.Quantity, 10),
				strconv.FormatInt(o.TotalCents, 10), o.RequestID, o.CreatedAt.Format(time.RFC3339Nano),
			})
		}
		if pause > 0 {
			select {
			case <-ctx.Done():
				panic(http.ErrAbortHandler)
			case <-time.After(time.Duration(pause) * time.Millisecond):
			}
		}
	}
	header.Set(exportTrailer, strconv.Itoa(rows))
}
