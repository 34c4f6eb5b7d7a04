# Everything here works with Go, gcc, make and git alone: what else is needed is built
# from source, once, into .cache/bin. Begin with `make help`.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
MAKEFLAGS += --no-builtin-rules
# The go command uses all cores by itself; and drift must not write while others read.
.NOTPARALLEL:

# Modules are never changed by a build, only by `make tidy`. VCS stamping is off: the
# version comes from VERSION, and a checkout that belongs to another user (a container)
# would fail to build otherwise.
export GOFLAGS := -mod=readonly -buildvcs=false
# A go.work in a parent directory must not leak into the builds.
export GOWORK := off

VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)

ROOT  := $(CURDIR)
BIN   := .cache/bin
BUILD := build

COLLECTOR := $(BUILD)/otelcol-goldtrail/otelcol-goldtrail
SIMULATOR := $(BUILD)/goldmane-sim
DEMO      := $(BUILD)/demo
GOLDTRAIL := $(BUILD)/goldtrail
BENCH     := $(BUILD)/bench
BENCHTRAIL := $(BUILD)/benchtrail
# The one place that says which Loki: the module that pins it.
LOKI      := $(BIN)/loki-$(shell sed -n 's|.*github.com/grafana/loki/v3 v\([^ ]*\).*|\1|p' test/loki/go.mod 2>/dev/null)
# And which kube-apiserver and etcd.
KUBE_APISERVER := $(BIN)/kube-apiserver-$(shell sed -n 's|.*k8s.io/kubernetes v\([^ ]*\).*|\1|p' test/kube/go.mod 2>/dev/null)
ETCD           := $(BIN)/etcd-$(shell sed -n 's|.*go.etcd.io/etcd/server/v3 v\([^ ]*\).*|\1|p' test/kube/go.mod 2>/dev/null)

# What the tests and the demo run; test/stack reads these. Not what LOKI_URL replaces.
export COLLECTOR_BIN    := $(ROOT)/$(COLLECTOR)
export GOLDMANE_SIM_BIN := $(ROOT)/$(SIMULATOR)
export LOKI_BIN         := $(ROOT)/$(LOKI)
export GOLDTRAIL_BIN    := $(ROOT)/$(GOLDTRAIL)
export KUBE_APISERVER_BIN := $(ROOT)/$(KUBE_APISERVER)
export ETCD_BIN         := $(ROOT)/$(ETCD)

##@ Run it

.PHONY: demo
demo: $(DEMO) $(GOLDTRAIL) $(COLLECTOR) $(if $(GOLDMANE),,$(SIMULATOR)) $(if $(LOKI_URL),,$(LOKI)) ## who talks to whom, from a simulated cluster; ONCE=1 ends after the table; LOKI_URL=; GOLDMANE=host:port [GOLDMANE_CERT= GOLDMANE_KEY= GOLDMANE_CA=] reads a real one
	@exec $(DEMO) $(if $(ONCE),--once) $(if $(GOLDMANE),--goldmane '$(GOLDMANE)' --cert '$(GOLDMANE_CERT)' --key '$(GOLDMANE_KEY)' --ca '$(GOLDMANE_CA)')

##@ Test it

.PHONY: test
test: lint drift race ledger promql e2e ## everything: lint, drift, unit tests with -race, the ledger test, PromQL, end to end

.PHONY: unit
unit: ## the quick tests
	go test -short -timeout 3m ./...

.PHONY: race
race: ## the quick tests with the race detector
	go test -race -short -timeout 5m ./...

# Not with the race detector, with which it takes two to three times as long.
.PHONY: ledger
ledger: ## everything goes wrong, and the trail still adds up, to what was sent; with GOLDMANE_BIN against a real Goldmane
	go test -count=1 -timeout 60m -run '^(TestLedger|TestSumsAreWhatWasSent)$$' ./receiver/goldmanereceiver
	go test -count=1 -run '^(TestKill|TestAnEdgeTakesLittleMemory)$$' ./connector/edgesconnector

# Those that may run at the same time mostly wait.
.PHONY: e2e
e2e: $(COLLECTOR) $(SIMULATOR) $(DEMO) $(GOLDTRAIL) $(if $(LOKI_URL),,$(LOKI)) $(KUBE_APISERVER) $(ETCD) ## the whole pipeline, with the built Collector, a real Loki and a real Kubernetes API; TESTFLAGS='-v -run TestPipeline'
	DEMO_BIN=$(ROOT)/$(DEMO) go test -tags e2e -count=1 -parallel 3 -timeout 20m $(TESTFLAGS) ./test/e2e/...

# In a module of its own; the first time it compiles Prometheus's engine, a minute.
.PHONY: promql
promql: ## the PromQL of dashboards and alerts, in Prometheus's own engine
	cd test/promql && go vet ./... && go test -count=1 ./...

.PHONY: conformance
conformance: ## what Goldmane does, against the simulator, and against a real one with GOLDMANE_BIN=/path/to/goldmane GOLDMANE_VERSION=3.32.1
	go test -count=1 -v ./internal/goldmane/conformance/...

.PHONY: bench
bench: ## flows per second and allocations, each beside its floor
	go test -run '^$$' -bench . -benchmem -cpu 1 ./internal/flowlog/... ./receiver/... ./processor/... ./connector/... ./internal/trail

.PHONY: bench-trail
bench-trail: $(BENCHTRAIL) $(GOLDTRAIL) $(LOKI) ## how fast the command answers from 90 days of rollups and a day of flow records; six minutes
	@$(BENCHTRAIL)

.PHONY: bench-layout
bench-layout: $(COLLECTOR) $(SIMULATOR) $(BENCH) $(LOKI) ## what the trail's layout costs in Loki, beside two others: bytes, CPU, query times; five minutes
	@$(BENCH) $(BENCHFLAGS)

.PHONY: bench-loki
bench-loki: bench-layout bench-trail ## both of these

.PHONY: lint
lint: $(BIN)/golangci-lint $(BIN)/buf modules ## golangci-lint, format of the proto, tidy modules
	$(BIN)/golangci-lint run --allow-parallel-runners ./...
	cd internal/goldmane && $(ROOT)/$(BIN)/buf format --diff --exit-code

# Only goldtrail's own module is held to `go mod tidy`. For the others it would fetch the
# tests of some hundred dependencies' dependencies (for buf's, modules that the module
# proxy does not have); that they build is what shows them whole.
.PHONY: modules
modules: ## fail if go.mod is not tidy, or a module wants more than Go 1.26
	@go mod tidy -diff || { echo "go.mod or go.sum is not tidy: run \`make tidy\`" >&2; exit 1; }
	@for module in . internal/tools test/loki test/kube test/promql; do \
	  version=$$(cd $$module && go list -m -f '{{.GoVersion}}'); \
	  case $$version in 1.26|1.26.*) ;; *) echo "$$module/go.mod says go $$version: Go 1.26 must do" >&2; exit 1;; esac; \
	done

.PHONY: drift
drift: ## fail if the generated code is not what `make generate` writes
	@before=$$(mktemp -d); trap 'rm -rf "$$before"' EXIT; \
	cp -a --parents $(GENERATED) "$$before"; \
	$(MAKE) --no-print-directory generate; \
	for dir in $(GENERATED); do \
	  diff -ru "$$before/$$dir" "$$dir" || { echo "generated code has drifted: run \`make generate\` and commit what it writes" >&2; exit 1; }; \
	done

##@ Change it

.PHONY: fmt
fmt: $(BIN)/golangci-lint $(BIN)/buf ## format all Go and proto files
	$(BIN)/golangci-lint fmt ./...
	cd internal/goldmane && $(ROOT)/$(BIN)/buf format -w

# Folders with generated code, generated files and others side by side.
GENERATED := internal/goldmane receiver/goldmanereceiver processor/svcidprocessor connector/edgesconnector

.PHONY: generate
generate: $(addprefix $(BIN)/,buf protoc-gen-go protoc-gen-go-grpc mdatagen) ## write all generated code anew
	cd internal/goldmane && PATH=$(ROOT)/$(BIN):$$PATH buf generate
	cd receiver/goldmanereceiver && $(ROOT)/$(BIN)/mdatagen metadata.yaml
	cd processor/svcidprocessor && $(ROOT)/$(BIN)/mdatagen metadata.yaml
	cd connector/edgesconnector && $(ROOT)/$(BIN)/mdatagen metadata.yaml

.PHONY: queries
queries: $(LOKI) ## write the answers in docs/queries.md anew
	go test -tags e2e -count=1 -run '^TestCookbook$$' ./test/e2e/queries -update

# The picture needs npm too: Graphviz, as WebAssembly.
.PHONY: map
map: $(COLLECTOR) $(SIMULATOR) $(LOKI) ## draw docs/service-map.svg anew, from what the dashboard's query says of the simulated cluster; needs npx
	go test -tags e2e -count=1 -run '^TestServiceMap$$' ./test/e2e/queries -dot $(ROOT)/$(BUILD)/service-map.dot
	npx --yes @hpcc-js/wasm-graphviz-cli@1.11.2 -T svg $(BUILD)/service-map.dot >$(BUILD)/service-map.svg
	mv $(BUILD)/service-map.svg docs/service-map.svg

.PHONY: tidy
tidy: ## go mod tidy
	go mod tidy

##@ Build it

.PHONY: collector
collector: $(COLLECTOR) ## the distribution, build/otelcol-goldtrail/otelcol-goldtrail

.PHONY: goldtrail
goldtrail: $(GOLDTRAIL) ## the command that answers from the trail, build/goldtrail

.PHONY: goldmane-sim
goldmane-sim: $(SIMULATOR) ## the simulator, build/goldmane-sim

.PHONY: loki
loki: $(LOKI) ## the Loki of the demo and the tests, .cache/bin/loki-<version>

.PHONY: kube
kube: $(KUBE_APISERVER) $(ETCD) ## the Kubernetes API of the tests, .cache/bin/kube-apiserver-<version> and etcd-<version>

.PHONY: image
image: ## a container image with the distribution; IMAGE=name:tag
	@docker version >/dev/null 2>&1 || { echo "make image needs docker and its daemon: \`docker version\` must succeed" >&2; exit 1; }
	docker build --build-arg VERSION=$(VERSION) --tag $(IMAGE) .

IMAGE ?= goldtrail/otelcol-goldtrail:dev

.PHONY: clean
clean: ## remove what was built, but not the tools
	rm -rf $(BUILD)

# Go sources that a program may be made of. The go command itself is exact about what
# must be compiled; this only spares calling it, and ocb, when nothing has changed.
# (The image is built from some of the folders only.)
sources = $(shell find $(1) -name '*.go' ! -name '*_test.go' 2>/dev/null) go.mod go.sum

# The version is part of the Collector: a new commit builds it anew. The file's name
# is the version, its age is of no interest.
VERSION_STAMP := $(BUILD)/.version-$(subst /,_,$(VERSION))
$(VERSION_STAMP):
	@mkdir -p $(BUILD) && rm -f $(BUILD)/.version-* && touch $@

# ocb writes go.mod and go.sum of its own, so that -mod=readonly does not suit it.
$(COLLECTOR): builder-config.yaml $(BIN)/builder $(VERSION_STAMP) $(call sources,receiver processor connector internal)
	@echo "building otelcol-goldtrail $(VERSION) (the first time takes two to four minutes on two cores, later ones seconds)"
	@env GOFLAGS=-buildvcs=false dist.version=$(VERSION) $(BIN)/builder --config builder-config.yaml >$(BUILD)/ocb.log 2>&1 || { cat $(BUILD)/ocb.log; exit 1; }
	@touch $@

$(SIMULATOR): $(call sources,cmd/goldmane-sim internal)
	@echo "building goldmane-sim"
	@go build -trimpath -o $@ ./cmd/goldmane-sim
	@touch $@

$(GOLDTRAIL): $(call sources,cmd/goldtrail internal/trail internal/flowlog internal/doctor internal/goldmane)
	@echo "building goldtrail"
	@go build -trimpath -ldflags "-X main.version=$(VERSION)" -o $@ ./cmd/goldtrail
	@touch $@

$(DEMO): $(call sources,test/demo test/stack internal) test/stack/loki.yaml
	@echo "building demo"
	@go build -trimpath -o $@ ./test/demo
	@touch $@

$(BENCHTRAIL): $(call sources,test/benchtrail test/stack internal) test/stack/loki.yaml
	@echo "building benchtrail"
	@go build -trimpath -o $@ ./test/benchtrail
	@touch $@

$(BENCH): $(call sources,test/bench test/stack internal) test/stack/loki.yaml
	@echo "building bench"
	@go build -trimpath -o $@ ./test/bench
	@touch $@

# The tools are pinned in internal/tools and built anew when its go.sum has changed, by
# content and not by time, so that a fresh checkout can use a kept .cache.
TOOLS_STAMP := $(BIN)/.tools-$(firstword $(shell cksum <internal/tools/go.sum))
$(TOOLS_STAMP):
	@mkdir -p $(BIN) && rm -f $(BIN)/.tools-* && touch $@

# $(1) name, $(2) package, $(3) how long it takes the first time
define tool
$(BIN)/$(1): $(TOOLS_STAMP)
	@echo "building $(1) (once; $(3) on two cores)"
	@cd internal/tools && go build -trimpath -o $(ROOT)/$$@ $(2)
	@touch $$@
endef
$(eval $(call tool,buf,github.com/bufbuild/buf/cmd/buf,a minute and a half))
$(eval $(call tool,builder,go.opentelemetry.io/collector/cmd/builder,half a minute))
$(eval $(call tool,golangci-lint,github.com/golangci/golangci-lint/v2/cmd/golangci-lint,three minutes))
$(eval $(call tool,mdatagen,go.opentelemetry.io/collector/cmd/mdatagen,half a minute))
$(eval $(call tool,protoc-gen-go,google.golang.org/protobuf/cmd/protoc-gen-go,a few seconds))
$(eval $(call tool,protoc-gen-go-grpc,google.golang.org/grpc/cmd/protoc-gen-go-grpc,a few seconds))

# Its name holds the version, so it is never built twice.
$(LOKI):
	@echo "building $(notdir $@) from source (once; six to seven minutes on two cores)"
	@mkdir -p $(BIN)
	@cd test/loki && CGO_ENABLED=0 go build -trimpath -tags netgo \
	  -ldflags "-s -w -X github.com/grafana/loki/v3/pkg/util/build.Version=$(patsubst loki-%,%,$(notdir $@))" \
	  -o $(ROOT)/$@ github.com/grafana/loki/v3/cmd/loki

# Without the ldflags it would say at /version that it is v0.0.0.
$(KUBE_APISERVER): version = $(patsubst kube-apiserver-%,%,$(@F))
$(KUBE_APISERVER): minor = $(word 2,$(subst ., ,$(version)))
$(KUBE_APISERVER):
	@echo "building $(@F) from source (once; seven minutes on two cores)"
	@mkdir -p $(BIN)
	@cd test/kube && CGO_ENABLED=0 go build -trimpath \
	  -ldflags "-s -w -X k8s.io/component-base/version.gitVersion=v$(version) \
	    -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=$(minor)" \
	  -o $(ROOT)/$@ k8s.io/kubernetes/cmd/kube-apiserver

$(ETCD):
	@echo "building $(@F) from source (once; half a minute on two cores after kube-apiserver)"
	@mkdir -p $(BIN)
	@cd test/kube && CGO_ENABLED=0 go build -trimpath -ldflags "-s -w" -o $(ROOT)/$@ go.etcd.io/etcd/server/v3

##@ Help

.PHONY: help
help: ## this list
	@awk 'BEGIN {FS = ":.*## "} \
	  /^##@ / {printf "\n%s\n", substr($$0, 5)} \
	  /^[a-z0-9-]+:.*## / {printf "  %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
