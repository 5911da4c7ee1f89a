#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"

namespace vitower {

// The element type of an output as it is sent. kUnspecified in a request: the tower's own.
enum class WireDType : uint8_t { kUnspecified, kBf16, kFp16, kFp32 };

std::string_view Name(WireDType dtype);  // "bf16", ...

// One image to embed. Unset options keep the server's values.
struct EmbedItem {
  std::string id{};     // comes back with the result
  std::string image{};  // encoded: JPEG, PNG, WebP, BMP or GIF

  std::optional<uint64_t> min_pixels{};  // areas of the resized image
  std::optional<uint64_t> max_pixels{};
  std::optional<bool> do_resize{};
  std::optional<bool> apply_exif{};
  std::optional<std::array<uint8_t, 3>> background{};  // RGB under transparent pixels

  // Which outputs; none named: tokens and every DeepStack level.
  bool tokens = false;
  std::vector<uint32_t> deepstack_levels{};
  bool pooled = false;
  WireDType dtype = WireDType::kUnspecified;
};

struct OutputTensor {
  std::string name;  // "tokens", "deepstack_0", ..., "pooled"
  std::vector<int64_t> shape;
  WireDType dtype = WireDType::kUnspecified;
  std::string data;  // raw little-endian values, row-major
};

struct EmbedResult {
  std::string id;
  absl::Status status;  // of this item; the fields below hold only where it is OK
  std::array<int64_t, 3> grid_thw{};
  int64_t token_count = 0;
  int64_t hidden_size = 0;
  WireDType dtype = WireDType::kUnspecified;
  std::vector<OutputTensor> outputs;
  std::vector<std::string> outputs_not_sent;
  std::vector<std::pair<std::string, double>> stage_seconds;  // stage and seconds, in the order of the stages
  int64_t batch_items = 0;                                    // items that shared the forward pass
  int64_t batch_patches = 0;
};

// What a server serves, and the limits a client can meet.
struct ServedModel {
  std::string name;
  std::string fingerprint;
  std::string device;
  std::string server_version;
  WireDType dtype = WireDType::kUnspecified;
  int64_t out_hidden_size = 0;
  int64_t patch_size = 0;
  int64_t spatial_merge_size = 0;
  std::vector<int64_t> deepstack_visual_indexes;
  std::vector<std::string> outputs;
  int64_t min_pixels = 0;
  int64_t max_pixels = 0;
  int64_t max_request_bytes = 0;
  int64_t max_reply_bytes = 0;
  int64_t max_request_items = 0;
  int64_t max_item_patches = 0;
};

struct ClientOptions {
  std::string server{};                 // HOST:PORT
  int64_t max_reply_bytes = 1LL << 30;  // of one reply; gRPC's own default is 4 MiB
};

// For a call that was refused with RESOURCE_EXHAUSTED: how long the server asks to wait before it is tried again.
// Nothing where the same call can never succeed (it is too large: send fewer items), and for any other status.
std::optional<std::chrono::milliseconds> RetryAfter(const absl::Status& refusal);

// A connection to a vitower server. Thread-safe: any number of calls may be in flight. Every call blocks until its
// answer or its deadline. A failed call returns the server's code and message; an item that was refused carries its own
// status within an OK call. Nothing is retried: RetryAfter tells whether and when the same call may succeed.
class Client final {
 public:
  using Deadline = std::chrono::system_clock::time_point;

  // Connects on the first call, so this fails only for a `server` that is not HOST:PORT.
  static absl::StatusOr<std::unique_ptr<Client>> Create(const ClientOptions& options);
  ~Client();
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  // One result for each item, in their order.
  absl::StatusOr<std::vector<EmbedResult>> Embed(absl::Span<const EmbedItem> items, Deadline deadline);

  absl::StatusOr<ServedModel> GetModelInfo(Deadline deadline);

  // OK where the server is SERVING; UNAVAILABLE, saying what it is instead, where it is not.
  absl::Status CheckHealth(Deadline deadline);

 private:
  struct Impl;
  explicit Client(std::unique_ptr<Impl> impl);

  std::unique_ptr<Impl> impl_;
};

}  // namespace vitower
