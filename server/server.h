#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "model/encoder.h"

namespace vitower {

enum class LogFormat { kText, kJson };

// Everything that can be chosen about serving. Each field is a flag of `vitower serve` of the same name.
struct ServerOptions {
  std::string listen = "0.0.0.0:50051";         // HOST:PORT of gRPC; port 0 picks a free one
  std::string metrics_listen = "0.0.0.0:9464";  // HOST:PORT of the metrics' HTTP; port 0 picks a free one
  int64_t max_request_bytes = 256LL << 20;      // of one gRPC message; larger ones are refused by gRPC
  int64_t max_reply_bytes = 64LL << 20;         // of one Embed reply, known from the headers; above: RESOURCE_EXHAUSTED
  int64_t max_request_items = 1024;             // items in one Embed call; 64 times as many fields in all
  int64_t max_image_pixels = 178'956'970;       // of an image as encoded, checked before decoding
  int64_t max_item_patches = 16'384LL * 4;      // of an item as resized: the hub's own limit; above: INVALID_ARGUMENT
  int64_t max_batch_patches = 1'024;            // budget of one pass, at most 1 << 22; a larger item runs alone
  std::chrono::microseconds max_batch_delay{0};  // how long an idle device waits for a batch to fill; 0: not at all
  int64_t max_queue_patches = 0;  // admitted and not yet answered; 0: 16 batches, at least max_item_patches
  // Of the calls admitted, until their replies are sent: the requests, the replies, and 3 bytes for each pixel of a
  // call's largest images as encoded, as many of them as there are preprocess_threads. 0: an eighth of the memory that
  // the process may use, at least max_request_bytes. gRPC may hold twice as much besides.
  int64_t max_inflight_bytes = 0;
  int64_t cache_bytes = 0;             // of answers kept for items that come again; 0: no cache
  int64_t max_video_frames = 200'000;  // of a clip as encoded, however few are sampled; above: INVALID_ARGUMENT
  double max_video_seconds = 7'200;    // of a clip as encoded, likewise
  // In flight on one stream. The server reads no more from it meanwhile, nor while the stream holds half of
  // max_queue_patches or of max_inflight_bytes. More hides more of the way to a distant client.
  int64_t max_stream_items = 256;
  // An answer of more bytes goes in parts of this size; 64 KiB to 3 MiB, below gRPC's own receive limit of 4 MiB, which
  // most clients keep. Smaller: more messages; larger: longer waits of the other calls on the connection.
  int64_t stream_chunk_bytes = 1LL << 20;
  // A client that takes nothing of a message (a reply, a part of a stream's answer) or sends nothing more of an item
  // that it has begun for so long loses the call. Less: slow clients of large replies are cut off.
  std::chrono::milliseconds client_stall_timeout{300'000};
  // A pass that takes longer is stuck: its device is taken out of service until it comes back. Of a pass that fills
  // max_batch_patches; a larger item has more, by its work. 0: ten times the warm-up, at least a minute. A warm-up has
  // ten minutes, or this where it is longer: beyond it has failed.
  std::chrono::milliseconds device_stall_timeout{0};
  // PEM files, read again when they change. The key has no password. Without tls_cert calls travel in plain text.
  std::string tls_cert{};       // the server's certificate chain
  std::string tls_key{};        // its private key
  std::string tls_client_ca{};  // whom clients' certificates must come from; empty: clients need none
  // NAME:TOKEN lines, read again when they change; empty: calls need no token. Health and reflection never do.
  std::string auth_tokens{};
  bool plain_text_tokens = false;                 // else auth_tokens needs tls_cert
  bool reflection = true;                         // tells anybody who asks what the API is
  int64_t max_connections = 4096;                 // further ones are closed at once
  int64_t max_concurrent_streams = 1024;          // calls under way on one connection; further ones wait in the client
  std::chrono::seconds handshake_timeout{20};     // from the connection until HTTP/2 is agreed on
  std::chrono::seconds max_connection_idle{600};  // without a call; 0: for ever
  // A connection is told to go so long after it came, a tenth more or less, and takes no new calls: clients come back,
  // and balancers send them elsewhere. 0: never. What runs on it is cut after the grace; 0: never.
  std::chrono::seconds max_connection_age{0};
  std::chrono::seconds max_connection_age_grace{0};
  // Where GET /debug/trace?seconds=N on the metrics port leaves what all threads did in the next N seconds; empty:
  // there is no such page.
  std::string trace_dir{};
  int preprocess_threads = 0;  // 0: one for each core this process may use, its CPU quota rounded up
  // How long a server that is to stop says so (health: NOT_SERVING) and still serves: until balancers have heard of it.
  std::chrono::seconds drain_delay{0};
  std::chrono::seconds drain_timeout{30};  // how long Drain waits for accepted work
};

// That both addresses can be listened on now: for an error before a model is loaded, which takes long. Nothing is kept:
// where another process is quicker, Start fails, too. UNAVAILABLE names the flag, the address and why.
absl::Status CheckListen(const ServerOptions& options);

// That the files of TLS and tokens can be used now: for an error before a model is loaded, as well. INVALID_ARGUMENT
// names the flag, the file and what is wrong with it.
absl::Status CheckLocks(const ServerOptions& options);

// The gRPC service with its batcher, workers, metrics endpoint, health and reflection.
// Owns everything it starts. Thread-safe.
class Server {
 public:
  // Listens at once (health: NOT_SERVING, Embed: UNAVAILABLE), warms every encoder up with a batch of
  // max_batch_patches in the background, then serves. One worker thread for each encoder; all encoders must have the
  // same info but for the device. Fails with a message that names the address or option when it cannot.
  static absl::StatusOr<std::unique_ptr<Server>> Start(ServerOptions options,
                                                       std::vector<std::unique_ptr<Encoder>> encoders);
  virtual ~Server() = default;  // drains, and waits for a pass or a warm-up that runs

  // Blocks until the warm-up is done; its failure is returned here.
  virtual absl::Status WaitUntilServing() = 0;

  virtual int port() const = 0;  // of gRPC
  virtual int metrics_port() const = 0;

  // Says so (health: NOT_SERVING) for drain_delay, stops taking work (new calls: UNAVAILABLE), finishes what was
  // accepted within drain_timeout, answers the rest with UNAVAILABLE, and stops. Idempotent. DEADLINE_EXCEEDED where
  // anything accepted was dropped, UNAVAILABLE where a device is stuck, for which the destructor would wait.
  virtual absl::Status Drain() = 0;
};

}  // namespace vitower
