#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "client/embed_stream.h"
#include "client/item.h"

namespace vitower {

// Names of PEM files, read once, when the client is made.
struct TlsOptions {
  std::string ca{};           // whom the server's certificate must come from; empty: those that the system trusts
  std::string certificate{};  // the client's own chain, for a server that asks for one, and its key: both or neither
  std::string key{};
  std::string server_name{};  // what the server's certificate must be for; empty: the host of `server`
};

struct ClientOptions {
  // HOST:PORT, or a target as gRPC names it: "dns:///vitower-headless:50051", "ipv4:10.0.0.7:50051,10.0.0.8:50051".
  // Calls go round robin over all of its addresses that answer.
  std::string server{};
  int64_t max_reply_bytes = 1LL << 30;  // of one reply; gRPC's own default is 4 MiB
  std::optional<TlsOptions> tls{};      // nothing: plain text
  std::string token{};                  // sent with every call but CheckHealth, which asks for none
  bool allow_plain_text_token = false;  // a token without tls is refused otherwise
  // How often a call is begun where the server is not there for it (it drains, or the connection broke) before anything
  // of an answer has come, 1 to 5: with several addresses the next try goes to another. Pauses of about 50 ms, doubled.
  int attempts = 5;
};

// For a call, or an item of a stream, that was refused with RESOURCE_EXHAUSTED: how long the server asks to wait before
// it is tried again. Nothing where the same can never succeed (it is too large: send fewer items, or a smaller one),
// and for any other status.
std::optional<std::chrono::milliseconds> RetryAfter(const absl::Status& refusal);

// A connection to a vitower server. Thread-safe: any number of calls may be in flight. Every call but EmbedAsync blocks
// until its answer or its deadline. A failed call returns the server's code and message; an item that was refused
// carries its own status within an OK call. Embed and OpenStream are tried again as `attempts` says, and nothing else
// is: RetryAfter tells whether and when a call that a full server refused may succeed.
class Client final {
 public:
  using Deadline = std::chrono::system_clock::time_point;

  // Connects on the first call, so this fails only for options that cannot be: INVALID_ARGUMENT names the option
  // as the command line does: tls-ca, tls-client-cert, tls-client-key, token.
  static absl::StatusOr<std::unique_ptr<Client>> Create(const ClientOptions& options);
  ~Client();
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  // One result for each item, in their order. Copies the items once. INVALID_ARGUMENT for a request above protobuf's
  // 2 GiB. `request_id` goes into the server's log; empty: the server chooses one.
  absl::StatusOr<std::vector<EmbedResult>> Embed(absl::Span<const EmbedItem> items, Deadline deadline,
                                                 const std::string& request_id = "");

  // Embed without waiting: `done` gets its answer once, on a thread of gRPC's, which it must not block. The client's
  // destructor waits until every `done` has returned: it must not run inside one. The items' bytes are sent from where
  // they lie, without a copy: they must not change until the last reference to the item has gone, which may be after
  // `done` and on a thread of gRPC's. A request above protobuf's 2 GiB is INVALID_ARGUMENT, told on this thread before
  // this returns. REQUIRES: no item is null.
  using EmbedDone = std::function<void(absl::StatusOr<std::vector<EmbedResult>>)>;
  void EmbedAsync(const std::vector<std::shared_ptr<const EmbedItem>>& items, Deadline deadline, EmbedDone done,
                  const std::string& request_id = "");

  // Many items in flight, each answered as soon as it is done. The stream may outlive the client.
  std::unique_ptr<EmbedStream> OpenStream(const StreamOptions& options);

  absl::StatusOr<ServedModel> GetModelInfo(Deadline deadline);

  // OK where the server is SERVING; UNAVAILABLE, saying what it is instead, where it is not.
  absl::Status CheckHealth(Deadline deadline);

 private:
  struct Impl;
  explicit Client(std::unique_ptr<Impl> impl);

  std::unique_ptr<Impl> impl_;
};

}  // namespace vitower
