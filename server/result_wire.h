// private header
#pragma once

#include <grpcpp/grpcpp.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "vitower/v1/vitower.pb.h"

namespace vitower {

// A result on its way out. Its messages refer to the values of its outputs where they lie and keep them alive, so that
// no byte of them is copied before gRPC writes it to the socket. All below: not thread-safe.

// EmbedResponse, result by result.
class ResponseWire final {
 public:
  void Add(v1::Result result);
  grpc::ByteBuffer Finish();

 private:
  std::vector<grpc::Slice> slices_;
};

// The answer to one item of a stream as its messages: the whole result where it takes at most `chunk_bytes`, else the
// result without values and then the values in parts of at most `chunk_bytes`.
class AnswerWire final {
 public:
  AnswerWire(uint64_t key, v1::Result result, int64_t chunk_bytes);

  bool done() const { return done_; }
  grpc::ByteBuffer Next();  // REQUIRES: !done()

 private:
  grpc::ByteBuffer Whole();
  grpc::ByteBuffer Head();
  grpc::ByteBuffer Part();
  void SkipFinished();

  uint64_t key_;
  size_t chunk_bytes_;
  v1::Result result_;
  std::shared_ptr<const std::vector<std::string>> values_;  // of its outputs; empty until the first part
  bool done_ = false;
  size_t output_ = 0;  // of the next part
  size_t offset_ = 0;
};

}  // namespace vitower
