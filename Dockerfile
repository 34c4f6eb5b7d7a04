# otelcol-goldtrail: one static binary, the public CA certificates, nothing else.
# `make image` builds it and passes VERSION.
FROM golang:1.26-bookworm AS build
WORKDIR /src
# Tools and modules first: they change less often than the sources.
COPY Makefile go.mod go.sum ./
COPY internal/tools internal/tools
RUN make .cache/bin/builder && go mod download
COPY . .
ARG VERSION=unknown
RUN make collector VERSION=${VERSION} && mkdir /data

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /src/build/otelcol-goldtrail/otelcol-goldtrail /otelcol-goldtrail
# The default of STORAGE_DIR, writable for the user below when no volume is mounted.
COPY --from=build --chown=10001:10001 /data /var/lib/goldtrail
USER 10001:10001
EXPOSE 13133 8888
ENTRYPOINT ["/otelcol-goldtrail"]
CMD ["--feature-gates=+extension.healthcheck.useComponentStatus", "--config", "/etc/goldtrail/config/collector.yaml"]
