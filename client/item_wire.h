#pragma once
// private header

#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/slice.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "client/item.h"

namespace vitower {

// Items on their way out. Their messages refer to the bytes of pictures, clips and patches where they lie and keep the
// items alive, so that no byte of them is copied for gRPC (but of what is so short that a copy is cheaper). Items must
// not be null. All below: not thread-safe.

constexpr size_t kMaxMessageBytes = (size_t{1} << 31) - 1;  // protobuf's own limit

// EmbedRequest.
grpc::ByteBuffer RequestWire(const std::vector<std::shared_ptr<const EmbedItem>>& items);

// One item of a stream as its messages: the whole item where it takes at most `chunk_bytes`, else its bytes in parts of
// at most so many.
class StreamItemWire final {
 public:
  StreamItemWire(uint64_t key, const std::shared_ptr<const EmbedItem>& item, size_t chunk_bytes);

  size_t item_bytes() const { return item_bytes_; }  // of the item as a message
  bool done() const { return done_; }
  grpc::ByteBuffer Next();  // REQUIRES: !done()

 private:
  grpc::ByteBuffer Whole();
  grpc::ByteBuffer Part();
  void TakeBytes(size_t count, std::vector<grpc::Slice>& out);

  const uint64_t key_;
  const size_t chunk_bytes_;
  std::vector<grpc::Slice> item_;  // as a message
  size_t item_bytes_ = 0;
  size_t offset_ = 0;    // of the next part
  size_t slice_ = 0;     // in which it begins
  size_t in_slice_ = 0;  // and where there
  bool done_ = false;
};

}  // namespace vitower
