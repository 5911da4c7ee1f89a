#include "server/options.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <filesystem>
#include <limits>

#include "server/cpu_quota.h"
#include "server/memory_limit.h"
#include "server/status.h"
#include "server/text.h"

namespace vitower {
namespace {

constexpr int64_t kMany = int64_t{1} << 40;
constexpr int64_t kMonth = 2'000'000;                   // of milliseconds gRPC takes an int
constexpr int64_t kMaxBatchPatches = int64_t{1} << 22;  // 3 GiB of pixels for the warm-up

struct Range {
  std::string_view flag;
  int64_t value;
  int64_t lowest;
  int64_t highest;
};

absl::Status CheckRange(const Range& range) {
  if (range.value >= range.lowest && range.value <= range.highest) return absl::OkStatus();
  return MakeStatus(Fault::kBadInput,
                    Cat(range.flag, " is ", range.value, "; it must be ", range.lowest, " to ", range.highest));
}

absl::Status CheckRanges(const ServerOptions& options) {
  const Range ranges[] = {
      // gRPC's limit is an int; protobuf cannot parse more either.
      {"--max-request-bytes", options.max_request_bytes, 1024, std::numeric_limits<int>::max()},
      {"--max-reply-bytes", options.max_reply_bytes, 1024, std::numeric_limits<int>::max()},
      {"--max-request-items", options.max_request_items, 1, 1'000'000},
      {"--max-image-pixels", options.max_image_pixels, 1, kMany},
      {"--max-item-patches", options.max_item_patches, 4, kMany},
      {"--max-batch-patches", options.max_batch_patches, 4, kMaxBatchPatches},
      {"--max-batch-delay (microseconds)", options.max_batch_delay.count(), 0, 60'000'000},
      {"--max-queue-patches", options.max_queue_patches, 0, kMany},
      {"--max-inflight-bytes", options.max_inflight_bytes, 0, kMany},
      {"--cache-bytes", options.cache_bytes, 0, kMany},
      {"--max-video-frames", options.max_video_frames, 1, kMany},
      {"--max-stream-items", options.max_stream_items, 1, 1'000'000},
      {"--stream-chunk-bytes", options.stream_chunk_bytes, 64 << 10, 3 << 20},
      {"--client-stall-timeout (milliseconds)", options.client_stall_timeout.count(), 1, 86'400'000},
      {"--max-connections", options.max_connections, 1, 1'000'000},
      {"--max-concurrent-streams", options.max_concurrent_streams, 1, 1'000'000},
      {"--handshake-timeout (seconds)", options.handshake_timeout.count(), 1, 3'600},
      {"--max-connection-idle (seconds)", options.max_connection_idle.count(), 0, kMonth},
      {"--max-connection-age (seconds)", options.max_connection_age.count(), 0, kMonth},
      {"--max-connection-age-grace (seconds)", options.max_connection_age_grace.count(), 0, kMonth},
      {"--preprocess-threads", options.preprocess_threads, 0, 1024},
      {"--device-stall-timeout (milliseconds)", options.device_stall_timeout.count(), 0, 86'400'000},
      {"--drain-delay (seconds)", options.drain_delay.count(), 0, 86'400},
      {"--drain-timeout (seconds)", options.drain_timeout.count(), 0, 86'400},
  };
  for (const Range& range : ranges) {
    if (absl::Status checked = CheckRange(range); !checked.ok()) return checked;
  }
  if (options.max_video_seconds > 0 && std::isfinite(options.max_video_seconds)) return absl::OkStatus();
  return MakeStatus(Fault::kBadInput,
                    Cat("--max-video-seconds is ", options.max_video_seconds, "; it must be a number above 0"));
}

absl::Status BadAddress(std::string_view flag, std::string_view text, std::string_view why) {
  return MakeStatus(Fault::kBadInput, Cat(flag, " is \"", text, "\": ", why));
}

bool IsEveryHost(const std::string& host) { return host == "0.0.0.0" || host == "::"; }

absl::Status CheckAddresses(const ServerOptions& options) {
  const absl::StatusOr<Address> listen = ParseAddress("--listen", options.listen);
  if (!listen.ok()) return listen.status();
  const absl::StatusOr<Address> metrics = ParseAddress("--metrics-listen", options.metrics_listen);
  if (!metrics.ok()) return metrics.status();
  if (metrics->host.find(':') != std::string::npos) {
    return BadAddress("--metrics-listen", options.metrics_listen, "metrics are served over IPv4 only");
  }
  const bool overlap = listen->host == metrics->host || IsEveryHost(listen->host) || IsEveryHost(metrics->host);
  if (listen->port == 0 || listen->port != metrics->port || !overlap) return absl::OkStatus();
  return MakeStatus(Fault::kBadInput, Cat("--listen is \"", options.listen, "\" and --metrics-listen is \"",
                                          options.metrics_listen, "\": the two need a port each"));
}

// What belongs together among TLS and tokens.
absl::Status CheckSecurity(const ServerOptions& options) {
  if (options.tls_cert.empty() != options.tls_key.empty()) {
    return BadInput(
        options.tls_cert.empty() ? "--tls-key is given without --tls-cert" : "--tls-cert is given without --tls-key",
        ": a certificate and its key belong together");
  }
  if (!options.tls_client_ca.empty() && options.tls_cert.empty()) {
    return BadInput("--tls-client-ca is given without --tls-cert and --tls-key: only TLS has client certificates");
  }
  if (options.auth_tokens.empty() || !options.tls_cert.empty() || options.plain_text_tokens) return absl::OkStatus();
  return BadInput(
      "--auth-tokens without --tls-cert: tokens would travel unencrypted. Where that is meant, as behind a proxy that "
      "does TLS, --plain-text-tokens says so");
}

}  // namespace

absl::StatusOr<ServerOptions> ResolveOptions(ServerOptions options) {
  if (absl::Status ranges = CheckRanges(options); !ranges.ok()) return ranges;
  if (absl::Status addresses = CheckAddresses(options); !addresses.ok()) return addresses;
  if (absl::Status security = CheckSecurity(options); !security.ok()) return security;
  if (!options.trace_dir.empty() && !std::filesystem::is_directory(options.trace_dir)) {
    return MakeStatus(Fault::kBadInput, Cat("--trace-dir is \"", options.trace_dir, "\": there is no such folder"));
  }
  if (options.max_queue_patches == 0) {
    options.max_queue_patches = std::max(16 * options.max_batch_patches, options.max_item_patches);
  }
  if (options.max_inflight_bytes == 0) {
    options.max_inflight_bytes = std::max(UsableMemoryBytes() / 8, options.max_request_bytes);
  }
  if (options.preprocess_threads == 0) options.preprocess_threads = UsableCores();
  return options;
}

absl::StatusOr<Address> ParseAddress(std::string_view flag, std::string_view text) {
  const size_t colon = text.rfind(':');
  if (colon == std::string_view::npos) return BadAddress(flag, text, "it must be HOST:PORT");
  std::string_view host = text.substr(0, colon);
  const std::string_view digits = text.substr(colon + 1);
  const bool bracketed = host.size() > 2 && host.front() == '[' && host.back() == ']';
  if (bracketed) host = host.substr(1, host.size() - 2);
  if (host.empty()) return BadAddress(flag, text, "the host is missing; 0.0.0.0 listens on every address");
  if (!bracketed && host.find(':') != std::string_view::npos) {
    return BadAddress(flag, text, "an IPv6 address stands in brackets: [::1]:50051");
  }
  Address address{std::string(host), 0};
  const char* end = digits.data() + digits.size();
  const auto [stop, error] = std::from_chars(digits.data(), end, address.port);
  if (error != std::errc() || stop != end || address.port < 0 || address.port > 65'535) {
    return BadAddress(flag, text, "the port must be a number from 0 to 65535");
  }
  return address;
}

}  // namespace vitower
