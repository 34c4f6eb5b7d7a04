package goldmanereceiver

import (
	"context"
	"fmt"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/config/configgrpc"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
)

// connect makes the connection to Goldmane. It does not wait for it: gRPC connects,
// and reconnects with a back-off, by itself. Certificates that cannot be read are an
// error here and now.
func connect(ctx context.Context, cfg *Config, host component.Host, set component.TelemetrySettings) (*grpc.ClientConn, error) {
	retry := backoff.DefaultConfig
	retry.BaseDelay, retry.MaxDelay = cfg.Retry.InitialInterval, cfg.Retry.MaxInterval
	conn, err := cfg.ToClientConn(ctx, host.GetExtensions(), set,
		configgrpc.WithGrpcDialOption(grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           retry,
			MinConnectTimeout: cfg.ListTimeout,
		})),
		configgrpc.WithGrpcDialOption(grpc.WithDefaultCallOptions(
			grpc.MaxCallRecvMsgSize(cfg.MaxRecvMsgSizeMiB<<20),
		)),
	)
	if err != nil {
		return nil, fmt.Errorf("cannot set up the connection to Goldmane at 'endpoint' %s; look at 'tls' and 'auth': %w", cfg.Endpoint, err)
	}
	return conn, nil
}
