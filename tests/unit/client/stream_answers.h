#pragma once

#include <cstdint>
#include <string>

#include "fake_server.h"

namespace vitower {

using Stream = FakeServer::Stream;

inline v1::EmbedStreamResponse Answer(uint64_t key, const std::string& id = "") {
  v1::EmbedStreamResponse response;
  response.set_key(key);
  response.mutable_result()->set_id(id);
  return response;
}

// Answers every item with its id, as soon as it comes.
inline grpc::Status Echo(Stream& stream) {
  for (v1::EmbedStreamRequest request; stream.Read(&request);) {
    stream.Write(Answer(request.key(), request.item().id()));
  }
  return grpc::Status::OK;
}

// Reads until the client half-closes or cancels, answers nothing.
inline grpc::Status Swallow(Stream& stream) {
  for (v1::EmbedStreamRequest request; stream.Read(&request);) continue;
  return grpc::Status::OK;
}

}  // namespace vitower
