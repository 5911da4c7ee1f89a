#pragma once

#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "server/server.h"
#include "tests/support/puppet_encoder.h"
#include "tests/support/test_images.h"
#include "vitower/v1/vitower.grpc.pb.h"

namespace vitower {

// A server in this process, with a puppet for a tower, on free ports of the loopback, and a client to it.
class ServerTest : public testing::Test {
 protected:
  ServerTest();

  // REQUIRES: no server runs.
  void Start();
  absl::StatusOr<std::unique_ptr<Server>> TryStart();

  std::shared_ptr<grpc::Channel> NewChannel() const;

  static constexpr std::chrono::seconds kLongEnough{60};
  static void SetDeadline(grpc::ClientContext& context, std::chrono::nanoseconds after = kLongEnough);

  struct Reply {
    grpc::Status status;
    v1::EmbedResponse response;
    std::multimap<std::string, std::string> trailers;
  };
  Reply Embed(const v1::EmbedRequest& request, std::chrono::nanoseconds deadline = kLongEnough);

  // The answer to GET, its head included.
  std::string Get(const std::string& path) const;
  // Of /metrics.
  std::string Scrape() const { return Get("/metrics"); }
  // The value of a series such as `vitower_items_total{code="OK",kind="image"}`; -1 where there is none.
  double Metric(const std::string& series) const;
  // The same without HTTP round trips until it reaches `value`; blocks for what the server still has to do.
  void AwaitMetric(const std::string& series, double value) const;

  ServerOptions options_;  // change before Start
  DType dtype_ = DType::kFp32;
  std::shared_ptr<Puppet> puppet_ = std::make_shared<Puppet>();
  std::unique_ptr<Server> server_;
  std::unique_ptr<v1::VisionEmbedder::Stub> stub_;
};

// A TCP connection to a port of the loopback on which nothing is sent.
class IdleConnection final {
 public:
  explicit IdleConnection(int port);
  ~IdleConnection();
  IdleConnection(const IdleConnection&) = delete;
  IdleConnection& operator=(const IdleConnection&) = delete;

  bool connected() const { return connected_; }
  int fd() const { return fd_; }

 private:
  const int fd_;
  bool connected_ = false;
};

v1::Item ImageItem(const std::string& id, const std::string& bytes);
v1::EmbedRequest RequestOf(std::vector<v1::Item> items);
v1::EmbedRequest OneImage(int64_t width = 64, int64_t height = 64, Colour colour = {});

// That the result holds what a puppet makes of a picture of one colour and this size, its sides multiples of 32.
void ExpectRowsOf(const v1::Result& result, int64_t width, int64_t height, Colour colour);

}  // namespace vitower
