# make help lists what there is. Everything lands in ./bin; nothing is installed.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

# Debian's versioned Go is not on PATH by itself.
export PATH := $(PATH):/usr/local/go/bin:$(firstword $(wildcard /usr/lib/go-1.2[6-9]/bin)):/usr/sbin:/sbin
GO ?= go
VERSION ?= $(shell git describe --always --dirty 2>/dev/null || echo dev)
STATIC := openshell-vm openshell-gateway openshell-vmm openshell-init openshell-image openshell-net openshell-token
LDFLAGS := -s -w -X main.version=$(VERSION)
E2E_TIMEOUT ?= 2h
FUZZTIME ?= 20s

help: ## list the targets
	@awk -F':.*## ' '/^[a-z0-9-]+:.*## /{printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## install what is missing for build and run
	@scripts/setup

setup-test: ## install what is missing for the tests, too
	@scripts/setup --test

build: ## build every program into ./bin
	@mkdir -p bin
	@for p in $(STATIC); do CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/$$p ./cmd/$$p; done
	@CGO_ENABLED=1 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/openshell-krun ./cmd/openshell-krun

# A token is renewed at half its life: three renewals of a 16 s one take 24 s and a boot.
run: setup build ## run a VM that prints its token's generation as it is renewed
	@scripts/demo

# The four jobs of CI. Each runs alone, too; CONTRIBUTING.md says which one a change needs. Two run at a
# time, since each waits for a third of its time. What a job printed is shown when it ends.
test: setup-test build ## the four jobs: check, with -race, then everything on real engines and guests
	@echo "two jobs run at a time; what one printed is shown when it ends"
	@$(MAKE) --no-print-directory -j2 -Otarget RACE=-race TWO=1 OPENSHELL_E2E_PARALLEL=3 first second

first: check e2e-cli
second: e2e-engines e2e-vm
ifdef TWO # within one of the two, one after the other
unit: lint
e2e-cli: check
e2e-vm: e2e-engines
endif

check: lint unit ## job 1: lint and unit tests; no root, no engine, a few minutes

e2e-cli: build ## job 2: the CLI with every driver, end to end
	@OPENSHELL_ENGINES=$${OPENSHELL_ENGINES:-/var/tmp/openshell-engines}-cli scripts/e2e cli -timeout $(E2E_TIMEOUT)

e2e-engines: build ## job 3: the drivers on real Docker and Podman, and other people's programs in sandboxes
	@scripts/e2e engines -timeout $(E2E_TIMEOUT)

e2e-vm: build ## job 4: real guests, their jails, the guest init; no engine
	@scripts/e2e vm -timeout $(E2E_TIMEOUT)

e2e: e2e-cli e2e-engines e2e-vm ## jobs 2 to 4

# The longest first: most of its time it waits, and the others run meanwhile.
# lint has vetted them. Without paths a clone elsewhere uses what has been compiled before.
unit: ## unit tests
	$(GO) test $(RACE) -trimpath -vet=off -timeout 20m -tags faults ./gateway ./...

race: RACE := -race
race: unit ## unit tests with the race detector

# Without KVM it takes its time: two emulations lie below each guest.
e2e-krun: setup build ## the VM suite on a real libkrun: LIBKRUN=… LIBKRUNFW=…
	LIBKRUN=$(LIBKRUN) LIBKRUNFW=$(LIBKRUNFW) $(GO) test -tags e2e -count=1 -v -timeout 2h ./e2e/krun

# The first time it builds a kube-apiserver: 3 to 10 minutes on two cores, without network but Go's module proxy.
e2e-kubernetes: build ## exchange of ServiceAccounts' tokens, on a real kube-apiserver
	@scripts/setup --kubernetes
	@scripts/kubernetes build >/dev/null
	@E2E_REQUIRE_KUBERNETES=1 scripts/e2e ./e2e/kubernetes -timeout 20m

# STORM=30s for a short one.
storm: build ## kill the gateway for 10 minutes while 200 shares and six sandboxes are read
	@scripts/e2e -tags e2e,storm -timeout 40m -run 'TestStorm$$' ./e2e

e2e-federation: build ## providers' own libraries, for Go and JavaScript, go by the presets in sandboxes of each driver
	@scripts/federation

# OLD=COMMIT for another older version than the one that CHANGELOG.md counts from.
takeover: build ## sandboxes that an older version runs go on under this one's gateway
	@scripts/e2e -tags e2e,takeover -timeout 1h -run 'TestTakeover$$' ./e2e

lint: ## gofmt, vet with every tag, staticcheck, tidy; shellcheck and govulncheck where they can run
	@scripts/lint

docs: ## write docs/commands.md anew from --help
	$(GO) test ./cmd/openshell-vm -run 'TestCommandsPage$$' -update

fuzz: ## each fuzz target for FUZZTIME
	@scripts/fuzz $(FUZZTIME)

bench: build ## the figures, as ratios against a baseline in the same run
	@scripts/bench

clean: ## remove what was built
	rm -rf bin

ifndef TWO
.NOTPARALLEL: # jobs share the machine
endif
.PHONY: help setup setup-test build run test first second check unit race e2e e2e-cli e2e-engines e2e-vm e2e-krun e2e-federation e2e-kubernetes storm takeover lint docs fuzz bench clean
