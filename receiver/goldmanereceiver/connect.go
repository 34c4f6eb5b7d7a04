package goldmanereceiver

import (
	"context"
	"fmt"
	"sync/atomic"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/config/configgrpc"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/stats"
)

// connect makes the connection to Goldmane. It does not wait for it: gRPC connects,
// and reconnects with a back-off, by itself; connections counts the
// connections that it makes. Certificates that cannot be read are an error here and now.
func connect(ctx context.Context, cfg *Config, host component.Host, set component.TelemetrySettings, connections *atomic.Int64) (*grpc.ClientConn, error) {
	retry := backoff.DefaultConfig
	retry.BaseDelay, retry.MaxDelay = cfg.Retry.InitialInterval, cfg.Retry.MaxInterval
	var lane []configgrpc.ToClientConnOption
	if cfg.Live {
		lane = append(lane,
			configgrpc.WithGrpcDialOption(grpc.WithInitialWindowSize(laneWindow)),
			configgrpc.WithGrpcDialOption(grpc.WithInitialConnWindowSize(laneWindow)))
	}
	conn, err := cfg.ToClientConn(ctx, host.GetExtensions(), set, append(lane,
		configgrpc.WithGrpcDialOption(grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           retry,
			MinConnectTimeout: cfg.ListTimeout,
		})),
		configgrpc.WithGrpcDialOption(grpc.WithStatsHandler(connectionCounter{connections})),
		configgrpc.WithGrpcDialOption(grpc.WithDefaultCallOptions(
			grpc.MaxCallRecvMsgSize(cfg.MaxRecvMsgSizeMiB<<20),
		)),
	)...)
	if err != nil {
		return nil, fmt.Errorf("cannot set up the connection to Goldmane at 'endpoint' %s; look at 'tls' and 'auth': %w", cfg.Endpoint, err)
	}
	return conn, nil
}

// connectionCounter is a stats.Handler that counts connections as they are made.
type connectionCounter struct{ connections *atomic.Int64 }

func (connectionCounter) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context { return ctx }

func (connectionCounter) HandleRPC(context.Context, stats.RPCStats) {}

func (connectionCounter) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context {
	return ctx
}

// HandleConn implements stats.Handler.
func (c connectionCounter) HandleConn(_ context.Context, event stats.ConnStats) {
	if _, ok := event.(*stats.ConnBegin); ok {
		c.connections.Add(1)
	}
}
