#pragma once

#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>

#include <memory>
#include <optional>
#include <string>

namespace vitower {

// A call of any method with messages as bytes, for services whose stubs Debian does not ship (health, reflection).
// Blocks; not thread-safe. The destructor cancels.
class RawStream final {
 public:
  RawStream(std::shared_ptr<grpc::Channel> channel, const std::string& method);
  ~RawStream();

  bool Write(const std::string& message);
  std::optional<std::string> Read();  // nothing once the call has ended
  grpc::Status Finish();

 private:
  bool Await();

  grpc::ClientContext context_;
  grpc::CompletionQueue queue_;
  grpc::GenericStub stub_;
  std::unique_ptr<grpc::GenericClientAsyncReaderWriter> call_;
};

// grpc.health.v1.
enum class Health { kUnknown, kServing, kNotServing, kServiceUnknown };
std::string HealthRequest(const std::string& service);
Health ParseHealth(const std::optional<std::string>& response);
Health CheckHealth(const std::shared_ptr<grpc::Channel>& channel, const std::string& service);

}  // namespace vitower
