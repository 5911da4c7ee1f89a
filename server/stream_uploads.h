// private header
#pragma once

#include <grpcpp/grpcpp.h>

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "server/admission.h"
#include "server/clock.h"
#include "server/stream_request.h"

namespace vitower {

// The items of one stream that came in part so far. The room for the whole is reserved with the first part; what finds
// none is still received to its end, but not kept. Not thread-safe.
class StreamUploads final {
 public:
  struct Limits {
    int64_t max_count = 0;       // incomplete items: --max-stream-items
    int64_t max_bytes = 0;       // of one item: --max-request-bytes
    int64_t max_held_bytes = 0;  // of all that are incomplete, unless there is one only: half of --max-inflight-bytes
  };
  using Reserve = std::function<std::variant<Permit, Refusal>(int64_t bytes)>;

  StreamUploads(const Limits& limits, Reserve reserve) : limits_(limits), reserve_(std::move(reserve)) {}

  // An item all of whose parts are there. Where there was no room it has no bytes.
  struct Whole {
    std::vector<grpc::Slice> bytes;
    int64_t total = 0;
    TimePoint begun_at;
    std::optional<Refusal> refused;
  };
  struct Added {
    enum class Outcome { kMore, kWhole, kBroken, kNoRoom };
    Outcome outcome = Outcome::kMore;  // kMore: further parts are to come
    Whole whole{};                     // kWhole
    std::string broken{};              // kBroken: the rule that the part breaks, in words
  };
  // Where the server has no room now for the item that a part begins: with `insist` the item is taken in without its
  // bytes, else the answer is kNoRoom and `part` stays as it was. Otherwise `part` is used up.
  Added Add(StreamRequest& part, TimePoint received_at, bool insist);

  bool Has(uint64_t key) const { return uploads_.count(key) > 0; }
  int64_t count() const { return static_cast<int64_t>(uploads_.size()); }
  int64_t held_bytes() const { return held_bytes_; }
  // Of any item that is incomplete. REQUIRES: there is one.
  uint64_t some_key() const { return uploads_.begin()->first; }
  void Clear();

 private:
  struct Upload {
    Whole whole;
    uint64_t received = 0;
    Permit room;
  };

  std::string BrokenRule(const StreamRequest& part) const;
  std::string BrokenFirst(const StreamRequest& part) const;
  std::variant<Permit, Refusal> RoomFor(int64_t total) const;
  bool Begin(const StreamRequest& part, TimePoint received_at, bool insist);
  Whole End(uint64_t key);

  const Limits limits_;
  const Reserve reserve_;
  std::map<uint64_t, Upload> uploads_;
  int64_t held_bytes_ = 0;
};

}  // namespace vitower
