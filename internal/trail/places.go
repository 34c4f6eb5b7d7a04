package trail

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/goldtrail/goldtrail/internal/flowlog"
)

// longestQuery is below Loki's default of max_query_length, 30 days and an hour.
const longestQuery = 28 * 24 * time.Hour

// streams are all streams of a trail.
var streams = []string{flowlog.StreamFlows, flowlog.StreamCoverage, flowlog.StreamEdgesQuarters, flowlog.StreamEdges, flowlog.StreamEdgesDaily}

// anyStream is the LogQL matcher of the streams of a trail.
var anyStream = Label(flowlog.ServiceName) + "=~" + strconv.Quote(strings.Join(streams, "|"))

// Clusters implements Source.
func (c *Client) Clusters(ctx context.Context, span Span) ([]string, error) {
	found := map[string]struct{}{}
	for _, piece := range span.pieces(longestQuery) {
		series, err := c.series(ctx, "{"+anyStream+"}", piece, 0)
		if err != nil {
			return nil, fmt.Errorf("the clusters of the trail: %w", err)
		}
		for _, labels := range series {
			found[labels[clusterLabel]] = struct{}{}
		}
	}
	return sorted(found), nil
}

// series are the labels of the streams that have entries in the span, as far as the index
// and what Loki holds in memory tell: some milliseconds. A span that is too long for Loki
// is halved; one that takes too long, and was not halved often for that, too.
func (c *Client) series(ctx context.Context, selector string, span Span, halved int) ([]map[string]string, error) {
	parameters := url.Values{
		"match[]": {selector},
		"start":   {strconv.FormatInt(span.From.UnixNano(), 10)},
		"end":     {strconv.FormatInt(span.To.UnixNano(), 10)},
	}
	var answer struct {
		Status string              `json:"status"`
		Data   []map[string]string `json:"data"`
	}
	err := c.get(ctx, "/loki/api/v1/series", parameters, halved < slowHalvings, func(r io.Reader) error {
		err := json.NewDecoder(r).Decode(&answer)
		if err == nil && answer.Status != "success" {
			err = fmt.Errorf("status %q instead of success", answer.Status)
		}
		return err
	})
	var refused *StatusError
	if !errors.As(err, &refused) || span.length() <= leastStretch {
		return answer.Data, err
	}
	switch why := tooMuch(refused); {
	case why == tooLong:
	case why == tooSlow && halved < slowHalvings:
		halved++
	default:
		return nil, err
	}
	var all []map[string]string
	for _, half := range span.halves() {
		found, err := c.series(ctx, selector, half, halved)
		if err != nil {
			return nil, err
		}
		all = append(all, found...)
	}
	return all, nil
}

func sorted(set map[string]struct{}) []string {
	list := make([]string, 0, len(set))
	for s := range set {
		list = append(list, s)
	}
	slices.Sort(list)
	return list
}

// Begin implements Source, to the hour. It asks for series only; those are known by chunk,
// which holds up to two hours, so the time can be that much too early. (The index's
// statistics would be quicker still, and do not know what is in memory.)
func (c *Client) Begin(ctx context.Context, cluster string, span Span) (time.Time, bool, error) {
	for _, piece := range span.pieces(longestQuery) {
		there, err := c.holds(ctx, cluster, piece)
		if err != nil {
			return time.Time{}, false, err
		}
		if !there {
			continue
		}
		for piece.length() > time.Hour {
			half := piece.From.Add(piece.length() / 2).Truncate(time.Hour)
			if !half.After(piece.From) {
				break
			}
			first := Span{piece.From, half}
			if there, err = c.holds(ctx, cluster, first); err != nil {
				return time.Time{}, false, err
			}
			if there {
				piece = first
			} else {
				piece.From = half
			}
		}
		return piece.From, true, nil
	}
	return time.Time{}, false, nil
}

// holds reports whether the cluster has a stream in the span.
func (c *Client) holds(ctx context.Context, cluster string, span Span) (bool, error) {
	series, err := c.series(ctx, "{"+anyStream+", "+clusterLabel+"="+strconv.Quote(cluster)+"}", span, 0)
	if err != nil {
		return false, fmt.Errorf("where the trail begins: %w", err)
	}
	return len(series) > 0, nil
}
