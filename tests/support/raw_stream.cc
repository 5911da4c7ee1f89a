#include "tests/support/raw_stream.h"

#include <chrono>
#include <utility>
#include <vector>

namespace vitower {

RawStream::RawStream(std::shared_ptr<grpc::Channel> channel, const std::string& method) : stub_(std::move(channel)) {
  context_.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(60));
  call_ = stub_.PrepareCall(&context_, method, &queue_);
  call_->StartCall(this);
  Await();
}

RawStream::~RawStream() {
  context_.TryCancel();
  queue_.Shutdown();
  void* tag = nullptr;
  for (bool ok = false; queue_.Next(&tag, &ok);) continue;
}

bool RawStream::Await() {
  void* tag = nullptr;
  bool ok = false;
  return queue_.Next(&tag, &ok) && ok;
}

bool RawStream::Write(const std::string& message) {
  const grpc::Slice slice(message);
  call_->Write(grpc::ByteBuffer(&slice, 1), this);
  return Await();
}

std::optional<std::string> RawStream::Read() {
  grpc::ByteBuffer buffer;
  call_->Read(&buffer, this);
  if (!Await()) return std::nullopt;
  std::vector<grpc::Slice> slices;
  std::string bytes;
  if (!buffer.Dump(&slices).ok()) return std::nullopt;
  for (const grpc::Slice& slice : slices) bytes.append(reinterpret_cast<const char*>(slice.begin()), slice.size());
  return bytes;
}

grpc::Status RawStream::Finish() {
  grpc::Status status;
  call_->Finish(&status, this);
  Await();
  return status;
}

std::string HealthRequest(const std::string& service) {
  return std::string("\x0a") + static_cast<char>(service.size()) + service;
}

Health ParseHealth(const std::optional<std::string>& response) {
  if (!response || response->size() != 2) return Health::kUnknown;
  return static_cast<Health>((*response)[1]);
}

Health CheckHealth(const std::shared_ptr<grpc::Channel>& channel, const std::string& service) {
  RawStream call(channel, "/grpc.health.v1.Health/Check");
  call.Write(HealthRequest(service));
  return ParseHealth(call.Read());
}

}  // namespace vitower
