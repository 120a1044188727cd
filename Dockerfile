# All of handover's programs in one image; the command says which one runs.
FROM rust:1.95-slim-bookworm AS build
WORKDIR /build
COPY . .
# The workspace's default members are the command line, everything in workers/, and the example's application.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/build/target \
    cargo build --release --locked && \
    install -D --strip --target-directory /out \
        target/release/handover \
        target/release/handover-pause \
        target/release/handover-copy \
        target/release/handover-verify \
        target/release/handover-complete \
        target/release/handover-rollback \
        target/release/handover-reconcile \
        target/release/handover-identity \
        target/release/handover-gate \
        target/release/handover-invoicing

FROM debian:bookworm-slim
# hadolint ignore=DL3008
RUN apt-get update && \
    apt-get install --yes --no-install-recommends ca-certificates && \
    rm -rf /var/lib/apt/lists/* && \
    useradd --system --uid 10001 --user-group --no-create-home --home-dir /nonexistent handover
COPY --from=build /out/ /usr/local/bin/
COPY --chmod=755 config/compose/ready.sh /usr/local/bin/ready
# Settings and plans are looked for below the working directory, in config/.
WORKDIR /opt/handover
COPY config/handover.toml config/handover.toml
COPY config/plans config/plans
USER 10001:10001
CMD ["handover", "--help"]
