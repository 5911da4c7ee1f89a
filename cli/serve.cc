#include <grpc/grpc.h>

#include <cstdlib>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "cli/command.h"
#include "cli/format.h"
#include "cli/parse.h"
#include "cli/serve_until_stopped.h"
#include "cli/stop_signals.h"
#include "cli/threads.h"
#include "model/load.h"
#include "server/log.h"
#include "server/malloc_arenas.h"
#include "server/options.h"
#include "server/server.h"

namespace vitower {
namespace {

constexpr char kServeExamples[] =
    "  vitower serve --model random:2b\n"
    "  vitower serve --model Qwen3-VL-2B-Instruct/ --listen 127.0.0.1:50051 --max-batch-patches 4096\n"
    "  VITOWER_MODEL=random:tiny vitower serve --listen 127.0.0.1:0 --metrics-listen 127.0.0.1:0\n"
    "  vitower serve --config vitower.toml --print-config";

absl::StatusOr<LogFormat> ParseLogFormat(std::string_view text) {
  if (text == "text") return LogFormat::kText;
  if (text == "json") return LogFormat::kJson;
  return absl::InvalidArgumentError(absl::StrCat("\"", std::string(text), "\" is not text or json"));
}

absl::StatusOr<LogLevel> ParseLogLevel(std::string_view text) {
  if (text == "debug") return LogLevel::kDebug;
  if (text == "info") return LogLevel::kInfo;
  if (text == "warning") return LogLevel::kWarning;
  if (text == "error") return LogLevel::kError;
  return absl::InvalidArgumentError(absl::StrCat("\"", std::string(text), "\" is not debug, info, warning or error"));
}

absl::StatusOr<std::chrono::seconds> ParseSeconds(std::string_view text) {
  const absl::StatusOr<std::chrono::microseconds> time = ParseDuration(text);
  if (!time.ok()) return time.status();
  return std::chrono::ceil<std::chrono::seconds>(*time);
}

absl::StatusOr<std::chrono::milliseconds> ParseMilliseconds(std::string_view text) {
  const absl::StatusOr<std::chrono::microseconds> time = ParseDuration(text);
  if (!time.ok()) return time.status();
  return std::chrono::ceil<std::chrono::milliseconds>(*time);
}

// Two flags of which the first must not be below the second.
absl::Status CheckAtLeast(const char* flag, int64_t value, const char* other, int64_t other_value, const char* why) {
  if (value >= other_value) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(flag, " (", value, ") is below ", other, " (", other_value, "): ", why,
                                                 ". Raise ", flag, " or lower ", other));
}

absl::Status CheckContradictions(const ServerOptions& options) {
  if (options.max_queue_patches != 0) {
    constexpr char kFlag[] = "--max-queue-patches";
    absl::Status status = CheckAtLeast(kFlag, options.max_queue_patches, "--max-item-patches", options.max_item_patches,
                                       "an item of that size would never be admitted");
    if (!status.ok()) return status;
    status = CheckAtLeast(kFlag, options.max_queue_patches, "--max-batch-patches", options.max_batch_patches,
                          "no batch could ever be full");
    if (!status.ok()) return status;
  }
  if (options.max_inflight_bytes == 0) return absl::OkStatus();
  return CheckAtLeast("--max-inflight-bytes", options.max_inflight_bytes, "--max-request-bytes",
                      options.max_request_bytes, "a request of that size would never be admitted");
}

class Serve final : public Command {
 public:
  explicit Serve(CLI::App& root)
      : Command(root, "serve",
                "Serve embeddings over gRPC, and metrics over HTTP.\n"
                "SIGTERM or SIGINT: finish what was accepted, then exit (0 if all of it was answered); again: exit at "
                "once.",
                kServeExamples) {
    AddModelOptions();
    AddAddressOptions();
    AddLockOptions();
    AddConnectionOptions();
    AddLimitOptions();
    AddBatchOptions();
  }

 private:
  void AddModelOptions() {
    options().Add(
        {"model", "MODEL", "",
         "a checkpoint folder as downloaded from the hub, or random:2b (4b, 8b, 32b, tiny): random weights of "
         "that shape, which need no file; required"},
        IntoText(&load_.model));
    options().Add({"device", "DEVICE", load_.device,
                   "what computes: cpu, cuda:N, several of those as cuda:0,cuda:1, or cuda:all"},
                  IntoText(&load_.device));
    options().Add({"dtype", "DTYPE", "", "bf16 or fp32, what the tower computes in (default: the checkpoint's own)"},
                  Into(&load_.dtype, ParseDType));
    options().Add({"threads", "N", "0", "compute threads (0: one a core, within the CPU quota)"},
                  Into(&load_.threads, ParseInt, /*min=*/0, /*max=*/4096));
    options().Add({"log-format", "FORMAT", "text", "of the log on stderr: text or json"},
                  Into(&log_format_, ParseLogFormat));
    options().Add({"log-level", "LEVEL", "info", "debug, info, warning or error"}, Into(&log_level_, ParseLogLevel));
  }

  void AddAddressOptions() {
    options().Add({"listen", "HOST:PORT", server_.listen, "of gRPC; port 0 picks a free one"},
                  IntoText(&server_.listen));
    options().Add({"metrics-listen", "HOST:PORT", server_.metrics_listen,
                   "of the metrics' HTTP, over IPv4 only and on a port other than gRPC's; port 0 picks a free one"},
                  IntoText(&server_.metrics_listen));
    options().Add(
        {"trace-dir", "DIR", "",
         "where GET /debug/trace?seconds=N on the metrics port leaves a trace for Perfetto of what all threads "
         "did in the next N seconds, at most 60 (default: no such page)"},
        IntoText(&server_.trace_dir));
    AddTime("drain-delay", &server_.drain_delay,
            "how long a stopping server says that it is not ready and still serves, until balancers know");
    AddTime("drain-timeout", &server_.drain_timeout, "how long a stopping server waits for accepted work");
  }

  void AddLockOptions() {
    options().Add(
        {"tls-cert", "FILE", "",
         "PEM file of the server's certificate chain: calls are encrypted (default: plain text); this and the "
         "three below are read again when they change"},
        IntoText(&server_.tls_cert));
    options().Add({"tls-key", "FILE", "", "PEM file of its private key, without a password"},
                  IntoText(&server_.tls_key));
    options().Add({"tls-client-ca", "FILE", "",
                   "PEM file of CAs: clients must show a certificate of one of them (default: none is asked for)"},
                  IntoText(&server_.tls_client_ca));
    options().Add({"auth-tokens", "FILE", "",
                   "lines NAME:TOKEN: calls must carry the metadata authorization: Bearer TOKEN, health and reflection "
                   "excepted (default: no token is asked for)"},
                  IntoText(&server_.auth_tokens));
    options().AddSwitch("plain-text-tokens", "let tokens travel without TLS, as behind a proxy that has it",
                        &server_.plain_text_tokens);
    options().Add({"reflection", "on|off", "on", "tell clients such as grpcurl what the API is"},
                  Into(&server_.reflection, ParseBool));
  }

  void AddConnectionOptions() {
    AddCount("max-connections", &server_.max_connections, "to the port of gRPC; further ones are closed at once");
    AddCount("max-concurrent-streams", &server_.max_concurrent_streams,
             "calls under way on one connection; further ones wait in the client");
    AddTime("handshake-timeout", &server_.handshake_timeout, "from a connection until TLS and HTTP/2 are agreed on");
    AddTime("max-connection-idle", &server_.max_connection_idle, "of a connection without calls (0: no limit)");
    AddTime("max-connection-age", &server_.max_connection_age,
            "after which a connection takes no new calls, so that clients come back and reach new replicas too (0: no "
            "limit)");
    AddTime("max-connection-age-grace", &server_.max_connection_age_grace,
            "for the calls and streams that run on it then, before they are cut (0: no limit)");
  }

  void AddTime(const char* name, std::chrono::seconds* target, const char* help) {
    options().Add({name, "TIME", FormatDuration(*target), help}, Into(target, ParseSeconds));
  }

  void AddLimitOptions() {
    AddBytes("max-request-bytes", &server_.max_request_bytes,
             "of one gRPC message, and of one item of a stream; a larger one is refused");
    AddBytes("max-reply-bytes", &server_.max_reply_bytes, "of one Embed reply; above it: RESOURCE_EXHAUSTED");
    AddCount("max-request-items", &server_.max_request_items,
             "items in one Embed call; its message may hold 64 times as many fields in all");
    AddCount("max-image-pixels", &server_.max_image_pixels,
             "of an image, or a frame of a clip, as encoded; checked before it is decoded");
    AddCount("max-video-frames", &server_.max_video_frames, "of a clip as encoded, however few are sampled");
    options().Add({"max-video-seconds", "N", absl::StrCat(server_.max_video_seconds),
                   "of a clip as encoded, however little is sampled"},
                  Into(&server_.max_video_seconds, ParseNumber));
    AddCount("max-item-patches", &server_.max_item_patches, "of one item as resized; above it: INVALID_ARGUMENT");
    AddBytes(
        "max-inflight-bytes", &server_.max_inflight_bytes,
        "of requests admitted and not yet answered, of their replies, and of decoded images: 3 bytes a pixel of a "
        "call's largest images, as many as there are preprocess threads; above it: RESOURCE_EXHAUSTED (0: an eighth of "
        "the machine's or the container's memory, at least max-request-bytes)");
    AddCount("max-queue-patches", &server_.max_queue_patches,
             "admitted and not yet answered; above it: RESOURCE_EXHAUSTED (0: 16 batches, at least max-item-patches)");
    AddBytes("cache-bytes", &server_.cache_bytes,
             "of answers kept for items that come again with the same bytes and options (0: no cache)");
    AddCount("max-stream-items", &server_.max_stream_items,
             "in flight on one EmbedStream: the server reads on only when one is answered");
    AddBytes("stream-chunk-bytes", &server_.stream_chunk_bytes,
             "of one message of a stream: a larger answer comes in parts (64KiB to 3MiB)");
    options().Add(
        {"client-stall-timeout", "TIME", FormatDuration(server_.client_stall_timeout),
         "a client that takes nothing of a message, or sends nothing more of an item that it has begun, for so "
         "long loses the call: a reply has to be through by then, of a stream's answer each part"},
        Into(&server_.client_stall_timeout, ParseMilliseconds));
  }

  void AddBatchOptions() {
    AddCount("max-batch-patches", &server_.max_batch_patches,
             "patches in one forward pass, at most 4194304; a larger item runs alone. More: throughput, and memory and "
             "latency");
    options().Add({"max-batch-delay", "TIME", FormatDuration(server_.max_batch_delay),
                   "how long an idle device waits for a batch to fill"},
                  Into(&server_.max_batch_delay, ParseDuration));
    options().Add(
        {"device-stall-timeout", "TIME", "0",
         "a forward pass that takes longer is stuck and its device out of service until it ends (0: ten times "
         "the warm-up, at least 1m; a larger item has more); a warm-up that takes longer, and longer than 10m, "
         "ends the server"},
        Into(&server_.device_stall_timeout, ParseMilliseconds));
    options().Add(
        {"preprocess-threads", "N", "0", "threads that decode and resize (0: one a core, within the CPU quota)"},
        Into(&server_.preprocess_threads, ParseInt));
  }

  void AddBytes(const char* name, int64_t* target, const char* help) {
    options().Add({name, "SIZE", FormatBytes(*target), help}, Into(target, ParseBytes));
  }

  void AddCount(const char* name, int64_t* target, const char* help) {
    options().Add({name, "N", std::to_string(*target), help}, Into(target, ParseInt));
  }

  ExitCode Execute() override {
    if (load_.model.empty()) {
      return Fail(ExitCode::kUsage, "--model is required: a checkpoint folder, or random:2b for random weights");
    }
    absl::Status status = CheckContradictions(server_);
    if (status.ok()) status = ResolveOptions(server_).status();
    if (!status.ok()) return Fail(ExitCode::kUsage, std::string(status.message()));
    if (load_.dtype == DType::kFp16 && load_.device == "cpu") {
      return Fail(ExitCode::kUsage, "--dtype fp16 and --device cpu contradict each other: choose bf16 or fp32");
    }

    if (status = CheckListen(server_); !status.ok()) return Fail(ExitCode::kFailure, std::string(status.message()));

    if (status = CheckLocks(server_); !status.ok()) return Fail(ExitCode::kFailure, std::string(status.message()));

    if (std::getenv("MALLOC_ARENA_MAX") == nullptr) LimitMallocArenas();  // else the user has chosen
    StopSignals signals;  // before any thread starts
    InitLogging(log_format_, log_level_);
    load_.log = [](std::string_view message) { Log(LogLevel::kInfo, message); };
    load_.threads = ThreadCount(load_.threads);
    absl::StatusOr<std::vector<std::unique_ptr<Encoder>>> encoders = LoadEncoders(load_);
    if (!encoders.ok()) return Fail(encoders.status());
    // After oneDNN has been set up through the environment, since gRPC's threads read that. Never shut down: that would
    // wait up to 10 s for gRPC's poller at the end of the process.
    grpc_init();
    absl::StatusOr<std::unique_ptr<Server>> server = Server::Start(server_, *std::move(encoders));
    if (!server.ok()) return Fail(ExitCode::kFailure, std::string(server.status().message()));
    return ServeUntilStopped(signals, *std::move(server), server_);
  }

  LoadOptions load_;
  ServerOptions server_;
  LogFormat log_format_ = LogFormat::kText;
  LogLevel log_level_ = LogLevel::kInfo;
};

}  // namespace

std::unique_ptr<Command> MakeServe(CLI::App& root) { return std::make_unique<Serve>(root); }

}  // namespace vitower
