// private header
#pragma once

#include <cstdint>

#include "server/admission.h"

namespace vitower {

// When the server reads on from one stream: while what the stream holds here is below its share. So one stream cannot
// fill the server by itself, and a client that does not read its answers is not read from either.
// What only waits for more of itself (incomplete items) never closes the window: closed, it could not end. Not
// thread-safe.
class StreamWindow final {
 public:
  struct Limits {
    int64_t items = 0;    // --max-stream-items
    int64_t patches = 0;  // half of --max-queue-patches
    int64_t bytes = 0;    // half of --max-inflight-bytes
  };

  explicit StreamWindow(const Limits& limits) : limits_(limits) {}

  // An item that is complete enters, changes what it holds, and leaves when its answer is sent.
  void Enter() { ++items_; }
  void Hold(const Need& before, const Need& now) {
    patches_ += now.patches - before.patches;
    bytes_ += now.bytes - before.bytes;
    permits_ += (now.bytes > 0 ? 1 : 0) - (before.bytes > 0 ? 1 : 0);
  }
  void Leave(const Need& held) {
    --items_;
    Hold(held, {});
  }
  void SetIncomplete(int64_t items, int64_t bytes) {
    incomplete_items_ = items;
    incomplete_bytes_ = bytes;
  }

  int64_t incomplete_items() const { return incomplete_items_; }
  int64_t permits() const { return permits_; }  // of items for which room is held
  bool open() const {
    if (items_ == 0) return true;
    return items_ + incomplete_items_ < limits_.items && patches_ <= limits_.patches &&
           bytes_ + incomplete_bytes_ <= limits_.bytes;
  }

 private:
  const Limits limits_;
  int64_t items_ = 0;
  int64_t permits_ = 0;
  int64_t patches_ = 0;
  int64_t bytes_ = 0;
  int64_t incomplete_items_ = 0;
  int64_t incomplete_bytes_ = 0;
};

}  // namespace vitower
