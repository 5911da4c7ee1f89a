#pragma once

#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/slice.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace vitower {

// Of a field with its tag and length, as protobuf writes it.
size_t FieldSize(int field, size_t length);

// Bytes of messages written in order, some by reference: `holder` keeps those alive until gRPC lets go of them, on any
// of its threads. They must not change before: a call that is tried again sends them again. Not thread-safe.
class SliceWriter final {
 public:
  explicit SliceWriter(std::shared_ptr<const void> holder) : holder_(std::move(holder)) {}

  void NumberField(int field, uint64_t value);
  void FieldHead(int field, size_t length);
  void Copy(std::string_view bytes) { text_ += bytes; }
  void Refer(std::string_view bytes);  // copies what is so short that this is cheaper

  const std::string& text() const { return text_; }  // REQUIRES: nothing was written by reference
  std::vector<grpc::Slice> Finish();

 private:
  void Varint(uint64_t value);
  void Flush();

  const std::shared_ptr<const void> holder_;
  std::string text_;
  std::vector<grpc::Slice> slices_;
};

inline grpc::ByteBuffer ToBuffer(const std::vector<grpc::Slice>& slices) { return {slices.data(), slices.size()}; }

}  // namespace vitower
